//! The time after a run with `--keep`: everything stays up until Ctrl-C.

use std::env;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::ctrl_c;
use tokio::time::{sleep, timeout};

use crate::consortium::{Consortium, named_from_here};
use crate::error::HarnessError;

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Prints how to go on, then waits for Ctrl-C.
///
/// # Errors
/// If a process ends by itself before.
pub(super) fn keep_up(consortium: &mut Consortium, shown: &Path) -> Result<(), HarnessError> {
    print_usage(&consortium.url, shown);
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(HarnessError::file("start", "a wait for Ctrl-C"))?.block_on(async {
        let interrupted = ctrl_c();
        tokio::pin!(interrupted);
        loop {
            tokio::select! {
                biased;
                caught = &mut interrupted => {
                    caught.map_err(HarnessError::file("wait for", "Ctrl-C"))?;
                    println!("\nEverything ends now.");
                    return Ok(());
                }
                () = sleep(LOOK) => {}
            }
            if let Err(ended) = consortium.expect_running() {
                // A terminal's Ctrl-C reaches all processes at once: an end of theirs at the same moment is no failure.
                let meant = timeout(LOOK, &mut interrupted).await;
                return if meant.is_ok() { Ok(()) } else { Err(ended) };
            }
        }
    })
}

fn print_usage(url: &str, shown: &Path) {
    let ca = shown.join("consortium/gateway/tls/ca.pem").display().to_string();
    let this = env::current_exe().unwrap_or_else(|_| "target/release/konclave-demo".into());
    let token = format!("{} token --dir {}", named_from_here(&this), shown.display());
    println!("\nThe gateway and all members stay up until Ctrl-C.");
    println!("  API docs  {url}/docs   (a browser will ask about the consortium's own CA: {ca})");
    println!("  a token   {token}   (add `--client auditor` for the auditor's)");
    println!("  try       curl --cacert {ca} -H \"Authorization: Bearer $({token})\" {url}/v1/jobs");
}
