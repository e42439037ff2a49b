//! `compile --diff`: the changes on the node for each chain, with the configuration line that causes each.
use crate::cli::style::{BAD, CHANGE, FAINT, GOOD, PLAIN, TITLE, paint, remarked};
use crate::listing::{Change, Difference};
use similar::{Algorithm, ChangeTag, DiffOp, capture_diff_slices};

/// Number of context lines around a change.
const CONTEXT_LINES: usize = 2;

/// The differences between live and wanted rules.
pub fn text(difference: &Difference) -> String {
    let Difference { changes, refused } = difference;
    if changes.is_empty() && refused.is_empty() {
        return "no changes\n".to_string();
    }
    let mut diff = Diff { text: String::new() };
    for change in changes {
        diff.text += &(paint(TITLE, format_args!("{}: {} {}", change.part, change.action, change.name)) + "\n");
        diff.chain(change);
        diff.text.push('\n');
    }
    for text in refused {
        diff.text += &format!("{} {text}\n", paint(CHANGE, "would be refused:"));
    }
    diff.text
}

struct Diff {
    text: String,
}

impl Diff {
    fn chain(&mut self, Change { old, new, .. }: &Change) {
        let lines: Vec<String> = new.iter().map(|(line, _)| line.clone()).collect();
        let ops = capture_diff_slices(Algorithm::Myers, old, &lines);
        for (at, group) in similar::group_diff_ops(ops, CONTEXT_LINES).iter().enumerate() {
            if at > 0 {
                self.text += &(paint(FAINT, "  ...") + "\n");
            }
            for change in group.iter().flat_map(|op: &DiffOp| op.iter_changes(old, &lines)) {
                let (sign, style) = match change.tag() {
                    ChangeTag::Delete => ('-', BAD),
                    ChangeTag::Insert => ('+', GOOD),
                    ChangeTag::Equal => (' ', PLAIN),
                };
                let origin = change.new_index().filter(|_| sign == '+').and_then(|at| new.get(at)?.1.as_ref());
                self.text += &remarked(style, &format!("{sign} {}", change.value()), origin);
            }
        }
    }
}
