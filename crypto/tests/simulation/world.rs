//! Plays a scenario: parties, network and observer, one operation after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use konclave_crypto::aggregator::{Abort, Rejection};
use konclave_crypto::{Digest, SiteId};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::adversary::Adversary;
use crate::colluder::{BITS, Colluder};
use crate::gateway::{Ending, Gateway};
use crate::keys::Keys;
use crate::letter::{Address, Envelope, Letter};
use crate::observer::{Observer, Violation};
use crate::random::{draw, happens};
use crate::report::Report;
use crate::scenario::{Attack, Lie, Op, Scenario};
use crate::site::{Excuse, Outcome, Site};

/// Rounds of polling after which a healed network must have brought everything there is.
const PATIENCE: usize = 6;

enum Party {
    Honest(Site),
    Colluder(Colluder),
}

impl Party {
    fn receive(&mut self, letter: &Letter) -> Outcome {
        match self {
            Self::Honest(site) => site.receive(letter),
            Self::Colluder(colluder) => colluder.receive(letter),
        }
    }

    fn outbox(&mut self) -> Vec<Letter> {
        match self {
            Self::Honest(site) => site.outbox(),
            Self::Colluder(colluder) => colluder.outbox(),
        }
    }

    fn site(&mut self) -> &mut Site {
        match self {
            Self::Honest(site) => site,
            Self::Colluder(colluder) => &mut colluder.site,
        }
    }

    /// The lanes that its upload adds to the sum.
    fn contribution(&self, context: Digest) -> Option<Vec<i64>> {
        match self {
            Self::Honest(site) => site.plain.get(&context).cloned(),
            Self::Colluder(colluder) => {
                let plain = colluder.site.plain.get(&context)?;
                let added = colluder.added.get(&context);
                let by = |lane: usize| added.map_or(0, |added| added[lane]);
                Some(plain.iter().enumerate().map(|(lane, value)| value + by(lane)).collect())
            }
        }
    }
}

pub struct World {
    keys: Rc<Keys>,
    hostile: bool,
    gateway: Gateway,
    adversary: Adversary,
    parties: Vec<Party>,
    observer: Observer,
    pool: Vec<Envelope>,
    /// Who takes no part in the current round, and why.
    excused: BTreeMap<usize, Excuse>,
    /// Whether the hostile gateway meddled in the job: from then on no round need finish.
    meddled: bool,
    pub report: Report,
}

/// Plays a scenario to its end.
pub fn play(scenario: &Scenario) -> Result<Report, Violation> {
    let mut world = World::new(scenario);
    for (number, op) in scenario.ops.iter().enumerate() {
        world.step(op).map_err(|violation| format!("operation {number} ({op:?}): {violation}"))?;
    }
    world.report.gateway_crashes += world.gateway.crashes;
    Ok(world.report)
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let keys = Keys::of(scenario.sites, scenario.seed);
        let colluders: BTreeSet<usize> =
            scenario.colluders.iter().copied().filter(|site| *site < scenario.sites).collect();
        let party = |position| {
            let site = Site::new(position, &keys, scenario);
            if colluders.contains(&position) {
                Party::Colluder(Colluder::new(site, position, &keys, scenario.seed))
            } else {
                Party::Honest(site)
            }
        };
        Self {
            hostile: scenario.hostile_gateway,
            gateway: Gateway::new(&keys, scenario),
            adversary: Adversary::new(&keys, scenario, colluders.clone()),
            parties: (0..scenario.sites).map(party).collect(),
            observer: Observer::new(&keys, &colluders),
            pool: Vec::new(),
            excused: BTreeMap::new(),
            meddled: false,
            report: Report::default(),
            keys,
        }
    }

    fn step(&mut self, op: &Op) -> Result<(), Violation> {
        match op {
            Op::Begin { mode, same_model } => {
                if !self.gateway.busy() {
                    self.gateway.begin(*mode, *same_model);
                    self.report.rounds += 1;
                    self.excused.clear();
                    self.broadcast();
                }
                Ok(())
            }
            Op::Run { order, deliveries, drop, duplicate } => {
                self.run(*order, *deliveries, *drop, *duplicate)
            }
            Op::Poll => self.poll(),
            Op::CloseUploads => {
                let ending = self.gateway.close_uploads(false);
                self.closed(ending)
            }
            Op::CloseAgreement => {
                let ending = self.gateway.close_agreement(false);
                self.closed(ending)
            }
            Op::CloseUnmasking => {
                let ending = self.gateway.close_unmasking(false);
                self.closed(ending)
            }
            Op::CrashGateway { order } => {
                let before = (self.gateway.phase_name(), self.gateway.answered());
                self.gateway.crash(*order);
                if before != (self.gateway.phase_name(), self.gateway.answered()) {
                    return Err("the gateway came back from a crash in another state".into());
                }
                Ok(())
            }
            Op::ArmGateway { stored } => {
                self.gateway.armed = Some(*stored);
                Ok(())
            }
            Op::ArmSite { site, at } => {
                self.with_honest(*site, |site| site.armed = Some(*at));
                Ok(())
            }
            Op::Sleep { site } => {
                self.with_honest(*site, |site| site.down = true);
                Ok(())
            }
            Op::RollBack { site, writes } => {
                self.report.roll_backs += 1;
                self.with_honest(*site, |site| site.roll_back(*writes));
                Ok(())
            }
            Op::Lie { site, lie } => {
                self.lie(*site, *lie);
                Ok(())
            }
            Op::Attack(attack) => self.attack(attack),
            Op::Finish => self.finish(),
        }
    }

    fn with_honest(&mut self, site: usize, change: impl FnOnce(&mut Site)) {
        if let Some(Party::Honest(site)) = self.parties.get_mut(site) {
            change(site);
        }
    }

    fn lie(&mut self, site: usize, lie: Lie) {
        if let Some(Party::Colluder(colluder)) = self.parties.get_mut(site) {
            *self.report.lies.entry(lie_name(lie)).or_default() += 1;
            colluder.lies = vec![lie];
        }
    }

    fn attack(&mut self, attack: &Attack) -> Result<(), Violation> {
        if !self.hostile {
            return Ok(());
        }
        let current = self.gateway.signed.as_ref().map(|signed| signed.context.clone());
        let letters = self.adversary.strike(attack, current.as_ref());
        if !letters.is_empty() {
            *self.report.attacks.entry(attack_name(attack)).or_default() += 1;
            self.meddled = true;
        }
        for (to, letter) in letters {
            self.send_to_site(to, letter);
        }
        Ok(())
    }

    fn send_to_site(&mut self, to: usize, letter: Letter) {
        if to >= self.parties.len() {
            return;
        }
        let letter = Rc::new(letter);
        self.observer.gateway_sent(&letter);
        if self.hostile {
            self.adversary.sent(to, &letter);
        }
        self.pool.push(Envelope { to: Address::Site(to), letter });
    }

    /// The gateway tells every site what there is in this phase.
    fn broadcast(&mut self) {
        for position in 0..self.parties.len() {
            self.tell(position);
        }
    }

    fn tell(&mut self, position: usize) {
        let id = self.keys.sites[position].clone();
        for letter in self.gateway.news_for(&id) {
            self.send_to_site(position, letter);
        }
    }

    fn poll(&mut self) -> Result<(), Violation> {
        for position in 0..self.parties.len() {
            self.parties[position].site().down = false;
            let letters = self.parties[position].outbox();
            self.sent_by(position, letters)?;
            self.tell(position);
        }
        Ok(())
    }

    fn sent_by(&mut self, position: usize, letters: Vec<Letter>) -> Result<(), Violation> {
        let id = self.keys.sites[position].clone();
        for letter in letters {
            self.observer.site_sent(&id, &letter)?;
            if self.hostile {
                self.adversary.saw(&letter);
            }
            self.pool.push(Envelope { to: Address::Gateway, letter: Rc::new(letter) });
        }
        Ok(())
    }

    fn run(&mut self, order: u64, deliveries: usize, drop: u16, duplicate: u16) -> Result<(), Violation> {
        let mut rng = ChaCha20Rng::seed_from_u64(order);
        for _ in 0..deliveries {
            if self.pool.is_empty() {
                break;
            }
            let at = draw(&mut rng, self.pool.len());
            if happens(&mut rng, duplicate) {
                self.report.duplicates += 1;
                let twin = self.pool[at].clone();
                self.pool.push(twin);
            }
            let envelope = self.pool.swap_remove(at);
            if happens(&mut rng, drop) {
                self.report.drops += 1;
                continue;
            }
            self.deliver(&envelope)?;
        }
        Ok(())
    }

    fn deliver(&mut self, envelope: &Envelope) -> Result<(), Violation> {
        self.report.deliveries += 1;
        match envelope.to {
            Address::Gateway => match self.gateway.receive(&envelope.letter) {
                Ok(_) => Ok(()),
                Err(rejection) => self.rejected(&envelope.letter, &rejection),
            },
            Address::Site(position) => {
                if self.parties[position].site().down {
                    self.report.drops += 1;
                    return Ok(());
                }
                match self.parties[position].receive(&envelope.letter) {
                    Outcome::Sent(letters) => self.sent_by(position, letters),
                    Outcome::Refused(why) => {
                        self.report.refuse(&why);
                        Ok(())
                    }
                    Outcome::Excused(excuse) => {
                        if Some(envelope.letter.context()) == self.gateway.context() {
                            self.excused.insert(position, excuse);
                        }
                        Ok(())
                    }
                    Outcome::Crashed => {
                        self.report.site_crashes += 1;
                        Ok(())
                    }
                }
            }
        }
    }

    /// An honest gateway refuses nothing of an honest site but what came too late.
    fn rejected(&mut self, letter: &Letter, rejection: &Rejection) -> Result<(), Violation> {
        self.report.rejections += 1;
        let late = matches!(rejection, Rejection::NotUploaded { .. });
        let blamed = rejection.culprits().into_iter().find(|site| self.observer.is_honest(site));
        match blamed {
            Some(honest) if !self.hostile && !late => {
                Err(format!("the {} of the honest {honest} was refused: {rejection}", letter.kind()))
            }
            _ => Ok(()),
        }
    }

    fn closed(&mut self, ending: Option<Ending>) -> Result<(), Violation> {
        match ending {
            None => {
                self.broadcast();
                Ok(())
            }
            Some(ending) => self.ended(&ending),
        }
    }

    fn ended(&mut self, ending: &Ending) -> Result<(), Violation> {
        match ending {
            Ending::Opened { sums, agreed } => {
                self.report.opened += 1;
                let context = self.gateway.context().unwrap_or(Digest::of(b""));
                let mut plain = BTreeMap::new();
                for site in agreed {
                    let position = self.keys.position(site).unwrap_or_default();
                    let Some(lanes) = self.parties[position].contribution(context) else {
                        return Err(format!("{site} is in an opened sum without having masked"));
                    };
                    plain.insert(site.clone(), lanes);
                }
                self.observer.check_opened(context, sums, agreed, &plain, BITS)
            }
            Ending::Aborted(abort) => {
                *self.report.aborts.entry(abort_name(abort)).or_default() += 1;
                let blamed = abort.culprits().into_iter().find(|site| self.observer.is_honest(site));
                match blamed {
                    Some(honest) if !self.hostile => {
                        Err(format!("the honest {honest} is named as culprit: {abort}"))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// The network heals and the gateway goes on to the end; an honest one must reach it.
    fn finish(&mut self) -> Result<(), Violation> {
        if !self.gateway.busy() {
            return Ok(());
        }
        self.heal()?;
        if self.gateway.phase_name() == "collecting" {
            self.expect_everybody("uploaded")?;
            let ending = self.gateway.close_uploads(true);
            let over = ending.is_some();
            self.judge_abort(&ending)?;
            self.closed(ending)?;
            if over {
                return Ok(());
            }
            self.heal()?;
        }
        if self.gateway.phase_name() == "agreeing" {
            self.expect_everybody("signed")?;
            let ending = self.gateway.close_agreement(true);
            let over = ending.is_some();
            self.judge_abort(&ending)?;
            self.closed(ending)?;
            if over {
                return Ok(());
            }
            self.heal()?;
        }
        self.expect_everybody("answered")?;
        let ending = self.gateway.close_unmasking(true);
        self.judge_abort(&ending)?;
        self.closed(ending)
    }

    /// Everything under way arrives, and sites that are up ask again until nothing is new.
    fn heal(&mut self) -> Result<(), Violation> {
        // Twice: a site that signs on its own, too late to be heard, answers when it is asked the next time.
        let mut quiet = 0;
        for _ in 0..PATIENCE {
            let state =
                |world: &Self| (world.gateway.answered(), world.report.site_crashes, world.gateway.crashes);
            let before = state(self);
            self.poll()?;
            self.run(0, usize::MAX, 0, 0)?;
            quiet = if !before.0.is_empty() && before == state(self) { quiet + 1 } else { 0 };
            if quiet == 2 {
                break;
            }
        }
        Ok(())
    }

    /// With a healed network, every honest site that has no excuse has done its part.
    fn expect_everybody(&self, what: &str) -> Result<(), Violation> {
        if self.meddled {
            return Ok(());
        }
        let (answered, conflicting) = (self.gateway.answered(), self.gateway.conflicting());
        let uploaders = self.gateway.uploaders();
        for (position, party) in self.parties.iter().enumerate() {
            let id = &self.keys.sites[position];
            let counts = matches!(party, Party::Honest(_))
                && !self.excused.contains_key(&position)
                && !conflicting.contains(id)
                && (self.gateway.phase_name() == "collecting" || uploaders.contains(id));
            if counts && !answered.contains(id) {
                return Err(format!("the honest {id} has not {what} although nothing stops it"));
            }
        }
        Ok(())
    }

    /// A round of an honest gateway ends without a sum only for a reason that is there.
    fn judge_abort(&self, ending: &Option<Ending>) -> Result<(), Violation> {
        let Some(Ending::Aborted(abort)) = ending else { return Ok(()) };
        if self.meddled {
            return Ok(());
        }
        let lied = !self.report.lies.is_empty();
        let colluding = |sites: &BTreeSet<SiteId>| sites.iter().any(|site| !self.observer.is_honest(site));
        let threshold = self.keys.threshold();
        let there = match abort {
            Abort::TooFewUploads { found, conflicting, .. } => {
                *found < threshold && (conflicting.is_empty() || colluding(conflicting))
            }
            Abort::TooFewAgreed { conflicting, .. } => conflicting.is_empty() || colluding(conflicting),
            Abort::NoQuorum { found, .. } => *found < threshold,
            Abort::Unrecoverable { found, complained_of, .. } => {
                *found < threshold || (lied && !complained_of.is_empty())
            }
            Abort::BadDealing { dealer: site } | Abort::BodyFormat { site } => !self.observer.is_honest(site),
            Abort::OutOfRange { batch, .. } => lied && colluding(batch),
            Abort::Bodies
            | Abort::Read { .. }
            | Abort::BodyChanged { .. }
            | Abort::Sink { .. }
            | Abort::TotalChanged => false,
        };
        if there { Ok(()) } else { Err(format!("an honest round was given up: {abort}")) }
    }
}

fn lie_name(lie: Lie) -> String {
    let name = format!("{lie:?}");
    name.split('(').next().unwrap_or_default().to_owned()
}

fn attack_name(attack: &Attack) -> String {
    match attack {
        Attack::Context { change, .. } => format!("context: {change:?}"),
        Attack::Propose { change, .. } => format!("proposal: {change:?}"),
        Attack::Demand { change, .. } => format!("request: {change:?}"),
        Attack::Replay { .. } => "replay".to_owned(),
    }
}

fn abort_name(abort: &Abort) -> String {
    let name = format!("{abort:?}");
    name.split([' ', '{']).next().unwrap_or_default().to_owned()
}
