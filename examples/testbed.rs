//! A shell in the test bed: `make testbed`.
//!
//! Creates the network namespaces of the tests, assigns addresses, and starts a shell on the node. Removes everything when
//! the shell ends.
#![allow(clippy::disallowed_methods, reason = "a program for the terminal")]
#[path = "../tests/support/netns.rs"]
mod netns;
#[path = "../tests/support/testbed/mod.rs"]
mod testbed;
#[path = "../tests/support/wait.rs"]
mod wait;

use testbed::{Endpoint, TestBed};

fn main() {
    let testbed = TestBed::new("pvefw-testbed");
    testbed.assign_addresses();
    println!("A node with bridges, guests and an external host. Namespaces (ip netns exec NAME …) and addresses:");
    for endpoint in Endpoint::ALL {
        let [v4, v6] = endpoint.addresses();
        println!("  {:<32} {v4:<12} {v6:<18} {}", testbed.netns(endpoint).name(), description(endpoint));
    }
    println!(
        "This shell is on the node. Try: ip -br link; bridge link; pve-firewall --root DIR --node n1 start --debug"
    );
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_string());
    match testbed.node.command(&shell).status() {
        Ok(_) => println!("The namespaces are removed."),
        Err(error) => eprintln!("ERROR: {shell}: {error}"),
    }
}

fn description(endpoint: Endpoint) -> String {
    match endpoint {
        Endpoint::Host => "the node".to_string(),
        Endpoint::Outside => "the external host, behind eno1 of vmbr0".to_string(),
        Endpoint::Guest(index) => format!("behind {}", testbed::DEVICES[index].name()),
    }
}
