//! What several tests need: small files of measurements, and a consortium in a folder that goes away.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the lints spare test functions, but not what they call"
)]

pub(crate) mod inside;
pub(crate) mod job;
pub(crate) mod known;
pub(crate) mod player;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use konclave_tests::consortium::{Consortium, EVALUATOR, Plan};
use konclave_tests::partner::PartnerClient;
use tempfile::TempDir;

/// The columns of the standard format that these tests fill.
pub(crate) const HEADER: &str = "Chemical ID,SMILES_Structure_Parent,Test,Test_Type,Measurement_Type,\
                          Measurement_Condition,Measurement_Relation,Measurement_Value,Measurement_Unit";

/// A structure that every file made here holds, to be looked for elsewhere.
pub(crate) const CANARY: &str = "Clc1ccc(cc1)OCC(F)NC(=O)CSCC(C)C(=O)N1CCOCC1";
/// The id of its row.
pub(crate) const CANARY_ID: &str = "CANARY-00001";

/// Writes a file of simple alcohols and amines with made-up solubilities, different for each `site`.
pub(crate) fn write_measurements(path: &Path, site: usize, rows: usize) {
    let mut text = format!("{HEADER}\n{CANARY_ID},{CANARY},Solubility,Solubility,,,=,-2.5,log mol/L\n");
    for row in 0..rows {
        let chain = "C".repeat(1 + row % 17);
        let head = ["O", "N", "F", "Cl", "Br"][(row / 17 + site) % 5];
        let tail = ["C#N", "C(=O)O", "c1ccccc1", "C1CC1"][(row + site) % 4];
        let value = -(row as f64) / 13.0 - site as f64 / 10.0;
        writeln!(text, "M{site}-{row:04},{head}{chain}{tail},Solubility,Solubility,,,=,{value:.3},log mol/L")
            .unwrap();
    }
    fs::write(path, text).unwrap();
}

/// A consortium of `sites` in a temporary folder, founded but not started; every member has a small file.
pub(crate) fn consortium(sites: usize, configure: impl FnOnce(Plan) -> Plan) -> (Consortium, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let plan = configure(Plan::new(&folder.path().join("consortium"), sites));
    let consortium = Consortium::found(&plan).unwrap();
    let file = folder.path().join("measurements.csv");
    for (number, member) in consortium.members().enumerate() {
        write_measurements(&file, number, 80);
        member.give_data(&file).unwrap();
    }
    (consortium, folder)
}

/// The clients of a model developer and of an auditor.
pub(crate) fn partners(consortium: &Consortium) -> (PartnerClient, PartnerClient) {
    let developer = consortium.add_client("developer", "Model Developer Inc", "model-developer").unwrap();
    let auditor = consortium.add_client("auditor", "Audit Office", "auditor").unwrap();
    (developer, auditor)
}

/// The pseudonyms of the sites, without the evaluator.
pub(crate) fn site_names(consortium: &Consortium) -> Vec<String> {
    consortium.members().map(|member| member.site.clone()).filter(|site| site != EVALUATOR).collect()
}

/// The most memory that the gateway's process ever held (`VmHWM`, proc_pid_status(5)).
pub(crate) fn peak_memory(consortium: &Consortium) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{}/status", consortium.gateway_process().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}
