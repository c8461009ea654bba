//! `konclave-site run` and `konclave-site evaluate`.

use std::path::PathBuf;
use std::sync::Arc;

use konclave_crypto::MemberRole;
use tokio::signal::unix::{SignalKind, signal};

use super::{CommandError, ServiceArguments};
use crate::config::{SiteConfig, SiteFolder};
use crate::data::{Catalogue, Collection};
use crate::deposit::DepositFacts;
use crate::driver::{Evaluator, Site, TorchExaminer, TorchLearner};
use crate::keystore::{Disk, KeyError};
use crate::trainer::Inspector;

/// Runs the site until it is told to stop.
pub(super) fn run(arguments: &ServiceArguments) -> Result<(), CommandError> {
    let (folder, config, collection, deposit) = prepare(arguments, MemberRole::Site)?;
    let learner = TorchLearner::new(collection, Some(deposit), inspector(&folder));
    serve(async {
        let shutdown = told_to_stop()?;
        Ok(Site::run(folder, config, learner, shutdown).await?)
    })
}

/// Runs the evaluator until it is told to stop.
pub(super) fn evaluate(arguments: &ServiceArguments) -> Result<(), CommandError> {
    let (folder, config, collection, deposit) = prepare(arguments, MemberRole::Evaluator)?;
    let examiner = TorchExaminer::new(collection, deposit, inspector(&folder));
    serve(async {
        let shutdown = told_to_stop()?;
        Ok(Evaluator::run(folder, config, examiner, shutdown).await?)
    })
}

/// Reads settings and measurements. All rows that cannot be used are reported; the measurements stay in memory.
fn prepare(
    arguments: &ServiceArguments,
    role: MemberRole,
) -> Result<(SiteFolder, SiteConfig, Arc<Collection>, DepositFacts), CommandError> {
    let folder = SiteFolder::new(&arguments.dir);
    let config = SiteConfig::load(&folder, &arguments.flags)?;
    let files: Vec<PathBuf> = config.data_files(&folder)?;
    tracing::info!("reading {} data files", files.len());
    let mut show = |rows: u64| {
        if rows.is_multiple_of(10_000) {
            tracing::info!("{rows} rows read");
        }
    };
    let catalogue = Catalogue::embedded()?;
    let (collection, report) = Collection::load(&files, &catalogue, &mut show)?;
    // Without a cell's text: logs go where data must not.
    for line in report.without_cells() {
        tracing::info!("{line}");
    }
    if report.accepted() == 0 {
        return Err(CommandError::NoData { rows: report.rejected() });
    }
    let salt = salt(&folder)?;
    let deposit = DepositFacts::of(&files, &collection, &catalogue, role, &salt)?;
    Ok((folder, config, Arc::new(collection), deposit))
}

/// Looks at models in processes of their own.
fn inspector(folder: &SiteFolder) -> Inspector {
    Inspector::new(folder.state().join("models"))
}

/// The salt of the commitments.
fn salt(folder: &SiteFolder) -> Result<zeroize::Zeroizing<[u8; 32]>, KeyError> {
    crate::keystore::deposit_salt(&Disk::default(), folder.path())
}

/// Runs a service to its end.
fn serve(service: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("konclave-site").build()?;
    let result = runtime.block_on(service);
    // Training that is under way is thrown away: the next start begins the round's step again.
    runtime.shutdown_background();
    result
}

/// Ready when the process gets SIGINT or SIGTERM.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
