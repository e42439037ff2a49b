//! `.members`: the nodes of the cluster.
use serde_json::Value;
use std::net::IpAddr;

/// The address of a node by `.members` (`nodelist.<node>.ip`); `None` if it says none that makes sense.
#[must_use]
pub fn node_address(members: &[u8], node: &str) -> Option<IpAddr> {
    let members: Value = serde_json::from_slice(members).ok()?;
    members.get("nodelist")?.get(node)?.get("ip")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_address_is_found() {
        let text = br#"{"nodename":"n1","nodelist":{"n1":{"id":1,"ip":"10.0.0.1"},"n2":{"ip":"x"}}}"#;
        assert_eq!(node_address(text, "n1"), "10.0.0.1".parse().ok());
        for (text, node) in [(&text[..], "n2"), (text, "n3"), (b"[", "n1"), (b"{\"nodelist\":[]}", "n1")] {
            assert_eq!(node_address(text, node), None);
        }
    }
}
