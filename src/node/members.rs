//! `.members`: the nodes of the cluster.
use serde_json::Value;
use std::net::IpAddr;

/// The address of a node in `.members` (`nodelist.<node>.ip`); `None` if it has none.
///
/// # Errors
/// When the file or the address is invalid.
pub fn node_address(members: &[u8], node: &str) -> Result<Option<IpAddr>, String> {
    let members: Value = serde_json::from_slice(members).map_err(|error| format!("invalid JSON: {error}"))?;
    let Some(address) = members.get("nodelist").and_then(|list| list.get(node)?.get("ip")) else { return Ok(None) };
    let parsed = address.as_str().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| format!("{address} is not an address (node '{node}')"))
}

/// Whether `.members` lists other nodes than this one.
#[must_use]
pub fn has_others(members: &[u8], node: &str) -> bool {
    let members: Value = serde_json::from_slice(members).unwrap_or_default();
    let nodes = members.get("nodelist").and_then(Value::as_object);
    nodes.is_some_and(|nodes| nodes.keys().any(|name| name != node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_nodes_are_found() {
        for (text, others) in [
            (r#"{"nodelist":{"n1":{},"n2":{}}}"#, true),
            (r#"{"nodelist":{"n1":{}}}"#, false),
            ("{}", false),
            ("[", false),
        ] {
            assert_eq!(has_others(text.as_bytes(), "n1"), others, "{text}");
        }
    }

    #[test]
    fn the_address_of_the_node_is_found() {
        let text = br#"{"nodename":"n1","nodelist":{"n1":{"id":1,"ip":"10.0.0.1"},"n2":{"ip":"x"},"n4":{"ip":7}}}"#;
        assert_eq!(node_address(text, "n1"), Ok("10.0.0.1".parse().ok()));
        for (text, node) in [(&text[..], "n3"), (b"{\"nodelist\":[]}", "n1"), (b"{}", "n1")] {
            assert_eq!(node_address(text, node), Ok(None));
        }
        for (text, node) in [(&text[..], "n2"), (text, "n4"), (b"[", "n1"), (b"\xff", "n1")] {
            assert!(node_address(text, node).is_err());
        }
    }
}
