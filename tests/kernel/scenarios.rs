//! The behaviour described in the manual, tested with packets: the real daemon applies a configuration on a node in network
//! namespaces, and packets arrive or are refused.
//!
//! Needs root, netfilter, and the tools of `make deps`. Each test has its own namespaces.
mod connections;
mod filters;
mod floods;
pub mod ftp;
mod guest;
mod health;
mod host;
mod ips;
mod layer2;
mod nftables;
mod restored;
mod rules;
pub mod scenario;
mod unlogged;
