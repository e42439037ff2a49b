//! The outcome of a trial.
use crate::cli::Context;
use crate::daemon::instance::running;
use crate::daemon::status::Status;
use crate::daemon::trials::Ended;
use crate::inputs::Content;
use crate::system::files;
use crate::trial::{End, Trial, TrialStore};

/// How a trial ended; `None` while it is running.
pub(super) fn of(context: &Context, store: &TrialStore, trial: &Trial) -> Option<End> {
    let kept = store.load().ok().flatten();
    if kept.is_some_and(|kept| kept.began == trial.began) {
        return None;
    }
    if let Some(end) = said_by_daemon(context, trial) {
        return Some(end);
    }
    if is_in_force(context, trial) {
        // the daemon removes it first, and then the rules
        return None;
    }
    // no daemon has seen its end: compare the files of the configuration
    let is_there = |path: &str, content: &Content| {
        let now = files::read_optional(&context.config.join(path)).ok().flatten().unwrap_or_default();
        now == **content
    };
    let confirmed = trial.files.iter().all(|file| is_there(&file.path, &file.content));
    Some(if confirmed { End::Confirmed } else { End::Reverted })
}

fn said_by_daemon(context: &Context, trial: &Trial) -> Option<End> {
    let status = Status::read(&context.root, context.kind, running(&context.root, context.kind)?)?;
    status.last_trial.filter(|Ended { began, .. }| *began == trial.began).map(|ended| ended.end)
}

/// Whether the daemon reports that a trial has ended.
pub(super) fn is_over(context: &Context, trial: &Trial) -> bool {
    said_by_daemon(context, trial).is_some()
}

/// Whether the daemon applies a trial.
pub(super) fn is_in_force(context: &Context, trial: &Trial) -> bool {
    let status = running(&context.root, context.kind).and_then(|pid| Status::read(&context.root, context.kind, pid));
    status.and_then(|status| status.trial).is_some_and(|known| known.began == trial.began)
}
