//! What the process does to itself before it reads a key.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps off and keeps other processes of the same user from reading this one's memory, because both would
/// show keys. Says so where the system refuses, and goes on: a debugger's owner may have reasons.
pub fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        eprintln!("konclave-site: core dumps stay on: {error}");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("konclave-site: memory stays readable to debuggers: {error}");
    }
}
