//! The state of a trial in the daemons of both backends, and how it ended.
use crate::cli::{Context, load};
use crate::daemon::instance::running;
use crate::inputs::Content;
use crate::model::BackendKind;
use crate::system::files;
use crate::trial::{Trial, TrialEnd, TrialStore};

/// How a trial ended; `None` while it is running.
pub(super) fn of(context: &Context, store: &TrialStore, trial: &Trial) -> Option<TrialEnd> {
    let kept = store.load().ok().flatten();
    if kept.is_some_and(|kept| kept.began == trial.began) || is_applied(context, trial) {
        // a daemon removes it first, and then its rules
        return None;
    }
    // no daemon has recorded its end: compare the files of the configuration
    let is_there = |path: &str, content: &Content| {
        let now = files::read_optional(&context.config.join(path)).ok().flatten().unwrap_or_default();
        now == **content
    };
    let confirmed = || trial.files.iter().all(|file| is_there(&file.path, &file.content));
    store.ended(trial).or_else(|| Some(if confirmed() { TrialEnd::Confirmed } else { TrialEnd::Reverted }))
}

/// Whether a daemon applies a trial.
pub(super) fn is_applied(context: &Context, trial: &Trial) -> bool {
    BackendKind::ALL.iter().any(|kind| applies(context, *kind, trial))
}

/// Whether each daemon that enforces the configuration before or during a trial applies it.
pub(super) fn is_applied_by_all(context: &Context, trial: &Trial) -> bool {
    trial.backends.iter().all(|kind| applies(context, *kind, trial))
}

/// Whether a daemon that can end a trial is running.
pub(super) fn can_end(context: &Context, trial: &Trial) -> bool {
    trial.backends.iter().any(|kind| running(&context.root, *kind).is_some())
}

fn applies(context: &Context, kind: BackendKind, trial: &Trial) -> bool {
    load::daemon_status(context, kind).and_then(|status| status.trial).is_some_and(|known| known.began == trial.began)
}
