//! Who plays in the matrix: two of each role, of different organisations, and what belongs to each.
//!
//! Everything is there twice: two developers with a model and a job each, six sites in each job, two evaluators, two of
//! every other role. Each is *own* to one half of the callers and *another's* to the other half.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use konclave_crypto::{Digest, JobId, MemberRole, SiteId};
use konclave_gateway::auth::{MemberPrincipal, Principal};
use konclave_ledger::Hash;
use konclave_policies::authorization::Role;

use crate::world::site;

/// A digest that nothing has.
pub(super) const NOTHING: [u8; 32] = [0xee; 32];
/// What a site without a part in anything is called.
pub(super) const NO_SITE: &str = "site-99";
/// An entry far behind the ledger's end.
pub(super) const NO_ENTRY: u64 = 9_000_000;

/// One of the two that there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Acme,
    Rival,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Acme, Self::Rival];

    pub fn other(self) -> Self {
        match self {
            Self::Acme => Self::Rival,
            Self::Rival => Self::Acme,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Rival => "rival",
        }
    }

    pub(super) fn sites(self) -> RangeInclusive<usize> {
        match self {
            Self::Acme => 1..=6,
            Self::Rival => 7..=12,
        }
    }

    /// The site that asks: the others are its neighbours in the job. Not the first, whose messages are the examples.
    pub(super) fn site(self) -> SiteId {
        site(*self.sites().start() + 1)
    }

    pub(super) fn evaluator(self) -> SiteId {
        let name = match self {
            Self::Acme => "benchmark",
            Self::Rival => "second-judge",
        };
        name.parse().unwrap()
    }

    /// Data owners speak for the legal entity of a site; the other clients for that of the developer.
    pub(super) fn organisation(self, role: Role) -> String {
        match (role, self) {
            (Role::DataOwner | Role::Site, _) => format!("{} Ltd", self.site()),
            (Role::Evaluator, _) => format!("{} Ltd", self.evaluator()),
            (_, Self::Acme) => "Acme".to_owned(),
            (_, Self::Rival) => "Rival".to_owned(),
        }
    }

    pub fn client(self, role: Role) -> String {
        format!("{role}-{}", self.name())
    }

    pub(super) fn member(self, role: Role) -> Option<MemberPrincipal> {
        match role {
            Role::Site => Some(MemberPrincipal { site: self.site(), role: MemberRole::Site }),
            Role::Evaluator => Some(MemberPrincipal { site: self.evaluator(), role: MemberRole::Evaluator }),
            Role::Operator | Role::DataOwner | Role::ModelDeveloper | Role::Council | Role::Auditor => None,
        }
    }

    pub fn principal(self, role: Role) -> Principal {
        let member = self.member(role);
        Principal {
            id: member.as_ref().map_or_else(|| self.client(role), |member| member.site.to_string()),
            roles: vec![role],
            organisation: self.organisation(role),
            member,
        }
    }
}

/// Who asks. Nobody has no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub side: Side,
    pub role: Option<Role>,
}

/// Whose a thing is that a request names, as seen by who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    Own,
    Others,
    Nobodys,
}

/// What belongs to one side, or what nothing is called.
#[derive(Debug, Clone)]
pub struct Holdings {
    pub site: SiteId,
    pub evaluator: SiteId,
    pub auditor: String,
    pub developer: String,
    pub invited: Vec<SiteId>,
    /// A job that was played to its end.
    pub job: JobId,
    /// A job that waits for the sites' answers.
    pub invitation: JobId,
    pub model: Digest,
    pub torchscript: Digest,
    pub parameters: Digest,
    /// The sum of a batch, and what the round made of the parameters.
    pub batch_sum: Digest,
    pub scored: Digest,
    pub upload: String,
    /// An upload to be deleted.
    pub given_up: String,
    pub commitment: Hash,
    /// Of each role, an entry that is about its organisation.
    pub entries: BTreeMap<Role, u64>,
    /// Of the site, and of the evaluator.
    pub deposits: [Digest; 2],
}

impl Holdings {
    pub(super) fn nobodys() -> Self {
        let job: JobId = "job-none".parse().unwrap();
        let nothing = Digest(NOTHING);
        Self {
            site: NO_SITE.parse().unwrap(),
            evaluator: "no-benchmark".parse().unwrap(),
            auditor: "auditor-nobody".to_owned(),
            developer: "model-developer-nobody".to_owned(),
            invited: Vec::new(),
            job: job.clone(),
            invitation: job,
            model: nothing,
            torchscript: nothing,
            parameters: nothing,
            batch_sum: nothing,
            scored: nothing,
            upload: "e".repeat(32),
            given_up: "e".repeat(32),
            commitment: Hash(NOTHING),
            entries: Role::ALL.iter().map(|role| (*role, NO_ENTRY)).collect(),
            deposits: [nothing; 2],
        }
    }

    /// The member that somebody of this role is, or works with.
    pub fn member(&self, role: Option<Role>) -> &SiteId {
        if role == Some(Role::Evaluator) { &self.evaluator } else { &self.site }
    }

    pub fn deposit(&self, role: Option<Role>) -> Digest {
        self.deposits[usize::from(role == Some(Role::Evaluator))]
    }

    /// Nobody asks for what a developer asks for.
    pub fn entry(&self, role: Option<Role>) -> u64 {
        self.entries[&role.unwrap_or(Role::ModelDeveloper)]
    }

    /// Everything that an answer may call these things by, longest first: `site-7` is no part of `site-77`.
    pub fn names(&self, role: Option<Role>) -> Vec<String> {
        let mut names = vec![
            self.site.to_string(),
            self.evaluator.to_string(),
            self.auditor.clone(),
            self.developer.clone(),
            self.job.to_string(),
            self.invitation.to_string(),
            self.upload.clone(),
            self.given_up.clone(),
            self.commitment.to_string(),
            format!("entry {}", self.entry(role)),
        ];
        let digests =
            [self.model, self.torchscript, self.parameters, self.batch_sum, self.scored, self.deposit(role)];
        names.extend(digests.iter().map(ToString::to_string));
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names
    }

    /// What shows in an operation's list that it holds something of this side.
    pub fn mark(&self, operation: &str, role: Option<Role>) -> String {
        match operation {
            "list_sites" => format!("\"site\":\"{}\"", self.site),
            "list_blob_uploads" => self.upload.clone(),
            "list_models" => self.model.to_string(),
            "list_jobs" | "list_evaluations" => format!("\"job\":\"{}\"", self.job),
            "read_work" if role == Some(Role::Site) => format!("\"job\":\"{}\"", self.invitation),
            "read_work" => format!("\"job\":\"{}\"", self.job),
            "list_deposits" => self.deposit(role).to_string(),
            "list_entries" => format!("\"index\":{},", self.entry(role)),
            "list_corrections" => format!("\"entry\":{},", self.entry(role)),
            "list_reviews" => format!("\"reviewer\":\"{}\"", self.auditor),
            other => panic!("say in Holdings::mark what shows whose things {other} lists"),
        }
    }
}
