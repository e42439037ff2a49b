//! Types shared by the configuration and both backends: words, addresses, ports, verdicts, and reports about files.

mod address;
mod ct_state;
mod direction;
mod failsafe;
mod family;
pub mod guest;
mod icmp;
mod interface;
mod log_rate;
mod mac;
mod origin;
mod ports;
mod queue;
mod report;
mod tcp_flags;
mod text;
mod verdict;
mod words;

pub use address::{Address, Literal, Scope, SetRef};
pub use ct_state::CtState;
pub use direction::Direction;
pub use failsafe::{Failsafe, Opening};
pub use family::{Family, PerFamily};
pub use icmp::IcmpType;
pub use interface::Interface;
pub use log_rate::{LogRate, LogRatelimit, Rate, TimeUnit};
pub use mac::MacAddr;
pub use origin::Origin;
pub use ports::Ports;
pub use queue::Queue;
pub use report::{Fault, FileKind, Mark, Report, Severity, Sought, Span};
pub use tcp_flags::TcpFlags;
pub use text::{is_plain, shown};
pub use verdict::Verdict;
pub use words::{Spelled, Token};
