//! The parties of a simulated job with their keys set up, made once for each size and reused.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use konclave_crypto::setup::Roster;
use konclave_crypto::{IdentityKey, SiteId};

use crate::support::Consortium;

/// Root, gateway, roster, identity keys, and every site's chains as they are stored after set-up.
pub struct Keys {
    pub consortium: Consortium,
    pub chains: Vec<Vec<u8>>,
    pub sites: Vec<SiteId>,
}

thread_local! {
    static MADE: RefCell<BTreeMap<(usize, u8), Rc<Keys>>> = const { RefCell::new(BTreeMap::new()) };
}

impl Keys {
    /// The keys of `sites` sites; there are a few consortia of each small size.
    pub fn of(sites: usize, seed: u64) -> Rc<Self> {
        let variant = if sites <= 16 { u8::try_from(seed % 3).unwrap() } else { 0 };
        MADE.with_borrow_mut(|made| {
            Rc::clone(made.entry((sites, variant)).or_insert_with(|| {
                let consortium = Consortium::new(sites, 100 + variant);
                let ids = consortium.sites();
                let chains = ids.iter().map(|id| consortium.chains[id].to_secret_bytes().to_vec()).collect();
                Rc::new(Self { consortium, chains, sites: ids })
            }))
        })
    }

    pub fn roster(&self) -> &Roster {
        &self.consortium.roster
    }

    pub fn key(&self, site: usize) -> &IdentityKey {
        self.consortium.key(&self.sites[site])
    }

    pub fn position(&self, site: &SiteId) -> Option<usize> {
        self.roster().index_of(site)
    }

    /// More than two thirds of the roster.
    pub fn threshold(&self) -> usize {
        self.sites.len() * 2 / 3 + 1
    }
}
