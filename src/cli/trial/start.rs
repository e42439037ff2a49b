//! `try`: starts a trial.
use super::wait::TrialWait;
use super::{DAEMON_TIMEOUT, LOCK_TIMEOUT, POLL_INTERVAL, seconds, trial_state};
use crate::cli::args::TryOptions;
use crate::cli::preview::Preview;
use crate::cli::{Context, output, require_root};
use crate::daemon::instance::running;
use crate::model::BackendKind;
use crate::trial::{Candidate, Confirmation, Digest, Trial, TrialEnd, TrialState, TrialStore};
use anyhow::{Context as _, Result, bail};
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Instant;

/// The exit status for a trial that was not confirmed.
const REVERTED: u8 = 3;

pub(in crate::cli) fn run(context: &Context, options: &TryOptions) -> Result<ExitCode> {
    require_root(context, "try")?;
    let store = TrialStore::new(&context.root);
    refuse_second(&store)?;
    let runs = |kind: &BackendKind| running(&context.root, *kind).is_some();
    if !BackendKind::ALL.iter().any(runs) {
        bail!("the daemon is not running, so the trial would not end: run 'pve-firewall start' first");
    }
    let preview = Preview::make(context, &options.files, options.diff)?;
    if let Some(kind) = preview.backends.iter().find(|kind| !runs(kind)) {
        let program = kind.program();
        bail!("the daemon {program} is not running, so the trial would not end: run 'systemctl start {program}' first");
    }
    let people = io::stdin().is_terminal() && io::stderr().is_terminal();
    if people || options.diff || context.verbose {
        output::data(&preview.text(options.diff))?;
    }
    preview.permit(options.force)?;
    if !preview.changes_files() {
        bail!("there is nothing to try: the files are equal to those of the configuration");
    }
    if people && !options.yes && !agreed(options.seconds)? {
        bail!("canceled");
    }
    let trial = begin(&store, &preview, options.seconds)?;
    await_daemon(context, &store, &trial)?;
    let mut wait = TrialWait { context, store: &store, trial: &trial, people, listens: people };
    let end = wait.for_end()?;
    wait.print_end(&end);
    Ok(match end {
        TrialEnd::Confirmed => ExitCode::SUCCESS,
        _ => ExitCode::from(REVERTED),
    })
}

/// The error for a running trial.
fn refuse_second(store: &TrialStore) -> Result<()> {
    let Some(trial) = store.load()? else { return Ok(()) };
    let clock = TrialStore::clock()?;
    if trial.left(&clock) == 0 {
        return Ok(());
    }
    bail!(
        "a trial is running: {}, {} s left; end it with 'pve-firewall confirm' or 'pve-firewall revert'",
        trial.names(),
        seconds(trial.left(&clock))
    )
}

fn agreed(seconds: u64) -> Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "Try this for {seconds} s? [y/N] ").and_then(|()| stderr.flush()).context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn begin(store: &TrialStore, preview: &Preview, seconds: u64) -> Result<Trial> {
    let _lock = store.lock(LOCK_TIMEOUT)?;
    refuse_second(store)?;
    let clock = TrialStore::clock()?;
    let candidate = |given: &crate::cli::given_files::GivenFile| Candidate {
        path: given.path.clone(),
        replaces: Digest::of(preview.tree.content(&given.path).unwrap_or_default()),
        content: given.content.clone(),
    };
    let differs = |one: &Candidate| Digest::of(&one.content) != one.replaces;
    let trial = Trial {
        boot: clock.boot.clone(),
        began: clock.now,
        deadline: clock.now.saturating_add(seconds.saturating_mul(1_000_000_000)),
        backends: preview.backends.clone(),
        files: preview.files.0.iter().map(candidate).filter(differs).collect(),
    };
    debug_assert_eq!(trial.state(&preview.tree, &clock, || Confirmation::None), TrialState::Runs);
    store.begin(&trial).context("the files cannot be stored for the daemon")?;
    Ok(trial)
}

fn await_daemon(context: &Context, store: &TrialStore, trial: &Trial) -> Result<()> {
    let deadline = Instant::now() + DAEMON_TIMEOUT;
    while !trial_state::is_applied_by_all(context, trial) && trial_state::of(context, store, trial).is_none() {
        // a killed daemon may be restarted
        if Instant::now() > deadline {
            store.clear()?;
            bail!("the daemon does not apply the files; see 'pve-firewall status --verbose'");
        }
        sleep(POLL_INTERVAL);
    }
    Ok(())
}
