//! Writes the files of a split.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use csv::{ByteRecord, Writer};
use serde::Serialize;

use super::SplitError;
use super::plan::{Place, SplitPlan};
use crate::data::{Catalogue, StandardFormatReader, TaskKey};

/// One written file.
#[derive(Debug, Serialize)]
pub(super) struct WrittenFile {
    /// Its path inside the output folder.
    file: String,
    rows: u64,
    tasks: BTreeMap<TaskKey, u64>,
    /// The task whose rows this site was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<TaskKey>,
}

/// What became of the rows.
#[derive(Debug, Serialize)]
pub(super) struct SplitSummary {
    pub(super) seed: u64,
    pub(super) files: Vec<WrittenFile>,
    /// Rows of tasks that were left out, or that cannot be used.
    pub(super) rows_left_out: u64,
    /// Rows of a site's missing task.
    pub(super) rows_withheld: u64,
}

struct Sink {
    summary: WrittenFile,
    writer: Writer<BufWriter<File>>,
}

/// The file name of each place below the output folder.
fn file_name(place: Place) -> String {
    match place {
        Place::Benchmark => "benchmark.csv".to_owned(),
        Place::Sample => "sample.csv".to_owned(),
        Place::Site(site) => format!("sites/site-{}.csv", site + 1),
    }
}

/// Copies every usable row of the wanted tasks, as it stands in the source, to its place.
pub(super) fn write_files(
    source: &Path,
    catalogue: &Catalogue,
    tasks: &[TaskKey],
    plan: &SplitPlan,
    sites: usize,
    seed: u64,
    folder: &Path,
) -> Result<SplitSummary, SplitError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source: io::Error| SplitError::Write { path, source }
    };
    fs::create_dir_all(folder.join("sites")).map_err(failed(folder))?;
    let input = File::open(source)
        .map_err(|error| SplitError::Write { path: source.to_path_buf(), source: error })?;
    let unreadable = |error| SplitError::Read { path: source.to_path_buf(), source: error };
    let mut reader =
        StandardFormatReader::new(BufReader::new(input), catalogue.clone()).map_err(unreadable)?;

    let places = [Place::Benchmark, Place::Sample].into_iter().chain((0..sites).map(Place::Site));
    let mut sinks = BTreeMap::new();
    for place in places {
        let without = match place {
            Place::Site(site) => plan.missing.get(&site).cloned(),
            Place::Benchmark | Place::Sample => None,
        };
        let path = folder.join(file_name(place));
        let file = File::create(&path).map_err(failed(&path))?;
        let mut writer = Writer::from_writer(BufWriter::new(file));
        write_record(&mut writer, reader.header_record(), &path)?;
        let summary = WrittenFile { file: file_name(place), rows: 0, tasks: BTreeMap::new(), without };
        sinks.insert(place, Sink { summary, writer });
    }

    let (mut rows_left_out, mut rows_withheld) = (0, 0);
    while let Some(row) = reader.next() {
        let Ok(measurement) = row.map_err(unreadable)? else {
            rows_left_out += 1;
            continue;
        };
        let place = plan.places.get(&measurement.structure).filter(|_| tasks.contains(&measurement.task));
        let Some((place, sink)) = place.and_then(|place| sinks.get_mut(place).map(|sink| (*place, sink)))
        else {
            rows_left_out += 1;
            continue;
        };
        if sink.summary.without.as_ref() == Some(&measurement.task) {
            rows_withheld += 1;
            continue;
        }
        write_record(&mut sink.writer, reader.record(), &folder.join(file_name(place)))?;
        sink.summary.rows += 1;
        *sink.summary.tasks.entry(measurement.task).or_default() += 1;
    }
    let mut files = Vec::new();
    for (place, mut sink) in sinks {
        sink.writer.flush().map_err(failed(&folder.join(file_name(place))))?;
        files.push(sink.summary);
    }
    Ok(SplitSummary { seed, files, rows_left_out, rows_withheld })
}

fn write_record(
    writer: &mut Writer<BufWriter<File>>,
    record: &ByteRecord,
    path: &Path,
) -> Result<(), SplitError> {
    writer
        .write_byte_record(record)
        .map_err(|error| SplitError::Write { path: path.to_path_buf(), source: io::Error::other(error) })
}

impl SplitSummary {
    /// The summary as lines for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.files.iter().map(WrittenFile::line).collect();
        if self.rows_withheld > 0 {
            lines.push(format!("{} rows were withheld from the sites that lack a task", self.rows_withheld));
        }
        if self.rows_left_out > 0 {
            lines.push(format!("{} rows were not usable or of no task with a quorum", self.rows_left_out));
        }
        lines
    }
}

impl WrittenFile {
    fn line(&self) -> String {
        let tasks: Vec<String> = self.tasks.iter().map(|(task, rows)| format!("{task} {rows}")).collect();
        let without = self.without.as_ref().map_or(String::new(), |task| format!(" (without {task})"));
        format!("{}: {} rows: {}{without}", self.file, self.rows, tasks.join(", "))
    }
}
