//! Interfaces of rules that no interface of the node can be.
use super::files::Files;
use crate::config::Rule;
use crate::inputs::Facts;
use crate::model::{Interface, Report};

/// Checks the names that are too long for an interface: they have to be alternative names.
pub fn interfaces(files: &Files<'_>, facts: &Facts, reports: &mut Vec<Report>) {
    for (file, rules) in [(&files.host.file, &files.host.rules), (&files.cluster.file, &files.cluster.rules)] {
        for Rule { line, place, iface, action: _ } in rules {
            let unknown = |name: &&String| name.len() > Interface::MAX && !facts.altnames.contains_key(name.as_str());
            if let Some(name) = iface.as_ref().filter(unknown) {
                let text = format!("no interface of this node has the name '{name}': no packet matches this rule");
                reports.push(Report::warning(file, *line, text).at(*place, None));
            }
        }
    }
}
