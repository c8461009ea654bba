//! `review`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use konclave_crypto::{ConsortiumRoot, IdentityPublicKey};
use konclave_ledger::records::ReviewResult;
use konclave_ledger::statements::ReviewStatement;
use konclave_ledger::{Timestamp, VerifierKey};

use super::output::whole_file;
use super::verify::Checks;
use super::{CommandError, code, warn};
use crate::client_key::ClientKey;
use crate::folder::{AuditError, Folder};
use crate::progress;
use crate::review::{Reviewer, Since, earlier_review, is_registered, review, sign_review};
use crate::text::shown;
use crate::verify::{VerifyOptions, verify};

/// Verify a copy and sign what was found, for the ledger's record of periodic reviews.
///
/// The review says `sound` only if nothing is wrong, `remarks` if there are remarks besides, and `findings` otherwise. The
/// file is a DSSE envelope: it goes to the gateway as the body of POST /v1/ledger/reviews.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: konclave-audit review copy --reviewer qa-audit --key qa-audit.key --out review.json \
                        --since-review last-review.json"
)]
pub(super) struct Arguments {
    /// Folder of the ledger.
    folder: PathBuf,
    /// The reviewer: the id of an API client with the role auditor.
    #[arg(long, value_name = "ID")]
    reviewer: String,
    /// The client's Ed25519 private key (PEM, PKCS#8), which signs the review.
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// Where the signed review goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The reviewed period begins where this earlier review ended; what it reviewed must be a beginning of this ledger.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    since_review: Option<PathBuf>,
    /// The reviewed period begins at this entry.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// What the reviewer wants to say.
    #[arg(long, default_value = "")]
    remarks: String,
    #[command(flatten)]
    checks: Checks,
    /// The log's verifier key (vkey), known from elsewhere.
    #[arg(long, value_name = "VKEY")]
    log_key: Option<VerifierKey>,
    /// The consortium root's public key (64 hexadecimal characters), known from elsewhere.
    #[arg(long)]
    root: Option<IdentityPublicKey>,
    /// Send the review to this gateway, too.
    #[cfg(feature = "mirror")]
    #[arg(long, value_name = "URL")]
    submit: Option<String>,
    /// The API client that sends it; the reviewer without it.
    #[cfg(feature = "mirror")]
    #[arg(long, value_name = "ID", requires = "submit")]
    client: Option<String>,
    #[cfg(feature = "mirror")]
    #[command(flatten)]
    connection: super::connection::ConnectionArguments,
    /// Print no progress.
    #[arg(long)]
    quiet: bool,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let key = read_key(&self.key)?;
        let folder = Folder::open(&self.folder)?;
        let since = match &self.since_review {
            Some(path) => Since::Review(Box::new(earlier_review(&read(path)?)?)),
            None => Since::Entry(self.from),
        };
        let Checks { origin, quorum, blobs } = self.checks;
        let root = self.root.map(ConsortiumRoot);
        let options = VerifyOptions { origin, key: self.log_key, root, quorum, blobs };
        let bar = progress::bar(self.quiet);
        let report = verify(&folder, &options, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        let made_at = Timestamp::try_from(SystemTime::now()).map_err(|_| CommandError::Clock)?;
        let reviewer = Reviewer { id: self.reviewer, since, remarks: self.remarks, made_at };
        let review = review(&folder, &report, &reviewer)?;
        match is_registered(&folder, review.size, &review.reviewer, &key)? {
            Some(true) => {}
            Some(false) => {
                warn(&format!("the ledger has {} with another key than this one", review.reviewer))
            }
            None => warn(&format!("the ledger has no client {} yet", shown(&review.reviewer))),
        }
        let envelope = sign_review(&review, &key)?.to_bytes();
        whole_file::<_, AuditError>(&self.out, |file| {
            let failed = |source| AuditError::Write { path: self.out.display().to_string(), source };
            file.write_all(&envelope).map_err(failed)
        })?;
        print(&review, out)?;
        writeln!(
            out,
            "  signed by    {} with {}, in {}",
            shown(&review.reviewer),
            key.public(),
            self.out.display()
        )?;
        #[cfg(feature = "mirror")]
        if let Some(url) = &self.submit {
            let client = self.client.as_ref().unwrap_or(&review.reviewer);
            self.connection.client(url, client, key)?.submit_review(&envelope)?;
            writeln!(out, "  sent to      {url}")?;
        }
        Ok(code(review.result != ReviewResult::Findings))
    }
}

fn print(review: &ReviewStatement, out: &mut dyn Write) -> Result<(), CommandError> {
    let result = match review.result {
        ReviewResult::Sound => "SOUND",
        ReviewResult::Remarks => "SOUND, WITH REMARKS",
        ReviewResult::Findings => "FINDINGS",
    };
    writeln!(out, "{result}  {}: entries {} to {}", review.origin, review.from, review.size)?;
    writeln!(out, "  root         {}", review.root)?;
    writeln!(
        out,
        "  checked      {} entries, {} statements, {} witnesses",
        review.entries_checked,
        review.statements_checked,
        review.witnesses.len()
    )?;
    for finding in &review.findings {
        writeln!(out, "  finding      {}", shown(finding))?;
    }
    if !review.remarks.is_empty() {
        writeln!(out, "  remarks      {}", shown(&review.remarks))?;
    }
    Ok(())
}

/// Reads a small file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, AuditError> {
    fs::read(path).map_err(|source| AuditError::Read { path: path.display().to_string(), source })
}

pub(super) fn read_key(path: &Path) -> Result<ClientKey, CommandError> {
    let text = zeroize::Zeroizing::new(read(path)?);
    ClientKey::from_pem(&text).map_err(|error| CommandError::Key { path: path.display().to_string(), error })
}
