//! Who is answered what: every operation of the OpenAPI document, for every role, on what belongs to its own
//! organisation, to another one and to nobody. The expected answers stand in `matrix.txt`.

mod cast;
mod each;
mod furnish;
mod requests;
mod stage;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use konclave_openapi::problem::{Problem, ProblemType};
use konclave_policies::authorization::Role;

use self::cast::{Caller, Side, Whose};
use self::requests::{Row, Shape};
use self::stage::{Cast, Stage};
use crate::conformance::Contract;

/// The expected answers.
const FILE: &str = include_str!("matrix.txt");

/// The columns: nobody, then the roles.
const COLUMNS: [(&str, Option<Role>); 8] = [
    ("nobody", None),
    ("operator", Some(Role::Operator)),
    ("owner", Some(Role::DataOwner)),
    ("developer", Some(Role::ModelDeveloper)),
    ("council", Some(Role::Council)),
    ("evaluator", Some(Role::Evaluator)),
    ("auditor", Some(Role::Auditor)),
    ("site", Some(Role::Site)),
];

/// A row of the file.
struct Expected {
    row: Row,
    cells: Vec<&'static str>,
    remark: Option<&'static str>,
}

fn expected() -> Vec<Expected> {
    let lines = FILE.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut rows = lines.map(|line| {
        let (answers, remark) = match line.split_once('#') {
            Some((answers, remark)) => (answers, Some(remark.trim())),
            None => (line, None),
        };
        let mut words = answers.split_whitespace();
        (words.next().unwrap(), words.collect::<Vec<_>>(), remark)
    });
    let (name, columns, _) = rows.next().unwrap();
    assert_eq!((name, columns), ("operation", COLUMNS.iter().map(|(name, _)| *name).collect()));
    let known = rows.map(|(name, cells, remark)| {
        let row = Row::named(name);
        let row = row.unwrap_or_else(|| panic!("matrix.txt: {name} is no operation of the document"));
        assert_eq!(cells.len(), COLUMNS.len(), "matrix.txt: {name}");
        Expected { row, cells, remark }
    });
    known.collect()
}

/// What one caller was answered.
struct Answer {
    status: u16,
    /// The body, with what it calls the named things by blotted out.
    text: String,
    /// Of a list: whose things it shows.
    shows: Option<&'static str>,
    /// What is wrong with the answer, whoever asked.
    fault: Option<String>,
}

type Answers = BTreeMap<Whose, Answer>;

async fn ask(cast: &Cast, row: &Row, caller: Caller, whose: Whose) -> Answer {
    let request = row.request(cast, caller, whose);
    let response = match caller.role {
        Some(role) => cast.world.respond(&caller.side.principal(role), request).await,
        None => cast.world.respond_to_nobody(request).await,
    };
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let shows = (row.shape() == Shape::List && status == 200).then(|| {
        let marked = |whose| text.contains(&cast.holdings(caller, whose).mark(row.id(), caller.role));
        match (marked(Whose::Own), marked(Whose::Others)) {
            (true, true) => "both",
            (true, false) => "own",
            (false, true) => "others",
            (false, false) => "none",
        }
    });
    let (text, fault) = if status < 400 || row.method == axum::http::Method::HEAD {
        (text, None)
    } else {
        refusal(&text, status)
    };
    let names = cast.holdings(caller, whose).names(caller.role);
    let text = names.iter().fold(text, |text, name| text.replace(name, "ID"));
    Answer { status, text, shows, fault }
}

/// A refusal without its request id, and what is wrong with it.
fn refusal(text: &str, status: u16) -> (String, Option<String>) {
    let Ok(mut problem) = serde_json::from_str::<Problem>(text) else {
        return (text.to_owned(), Some("is no problem document".to_owned()));
    };
    let told = ProblemType::ALL
        .iter()
        .any(|kind| kind.status() == status && problem.kind == format!("/problems/{}", kind.slug()));
    let wanted = match status {
        401 => Some(ProblemType::Unauthenticated),
        403 => Some(ProblemType::Forbidden),
        404 => Some(ProblemType::NotFound),
        _ => None,
    };
    let other = wanted.is_some_and(|kind| problem.kind != format!("/problems/{}", kind.slug()));
    let policies = problem.errors.iter().filter(|error| error.at.starts_with("policy:")).count();
    let fault = if !told || other || problem.status != status {
        Some(format!("has the type {}", problem.kind))
    } else if status == 403 && policies == 0 {
        Some("names no policy".to_owned())
    } else if problem.request_id.is_empty() {
        Some("has no request id".to_owned())
    } else {
        None
    };
    problem.request_id.clear();
    (serde_json::to_string(&problem).unwrap(), fault)
}

/// The cell of one caller: a status, or three if they are not all refused alike; `|` before the third where a refusal
/// tells another's from nobody's.
fn cell(answers: &Answers) -> String {
    let own = &answers[&Whose::Own];
    if let Some(shows) = own.shows {
        return format!("{}:{shows}", own.status);
    }
    let (Some(others), Some(nobodys)) = (answers.get(&Whose::Others), answers.get(&Whose::Nobodys)) else {
        return own.status.to_string();
    };
    let alike = (others.status, &others.text) == (nobodys.status, &nobodys.text);
    if own.status >= 400 && own.status == others.status && alike {
        return own.status.to_string();
    }
    let mark = if others.status >= 400 && !alike { '|' } else { '/' };
    format!("{}/{}{mark}{}", own.status, others.status, nobodys.status)
}

/// Everything that was answered, by row and column: the cell, or what is wrong with it.
async fn played(rows: &[&Row]) -> BTreeMap<String, Vec<Result<String, String>>> {
    let mut found = BTreeMap::new();
    let mut cast = Cast::new().await;
    for stage in Stage::ALL {
        cast.play_to(stage).await;
        let mut due: Vec<&&Row> = rows.iter().filter(|row| row.stage() == stage).collect();
        due.sort_by_key(|row| row.turn());
        for row in due {
            let mut cells = Vec::new();
            for (_, role) in COLUMNS {
                cells.push(answered(&cast, row, role).await);
            }
            found.insert(row.name.clone(), cells);
        }
    }
    found
}

/// What those of a role are answered: both the same, each in its own place.
async fn answered(cast: &Cast, row: &Row, role: Option<Role>) -> Result<String, String> {
    let things: &[Whose] = match row.shape() {
        Shape::Named => &[Whose::Own, Whose::Others, Whose::Nobodys],
        Shape::Plain | Shape::List => &[Whose::Own],
    };
    let mut cells = Vec::new();
    for side in Side::BOTH {
        let mut answers = Answers::new();
        for whose in things {
            let answer = ask(cast, row, Caller { side, role }, *whose).await;
            if let Some(fault) = &answer.fault {
                return Err(format!("the refusal {} {fault}: {}", answer.status, answer.text));
            }
            answers.insert(*whose, answer);
        }
        cells.push(cell(&answers));
    }
    match cells.as_slice() {
        [one, other] if one == other => Ok(one.clone()),
        _ => Err(format!("the two of this role are not answered alike: {}", cells.join(" and "))),
    }
}

fn operations() -> Vec<String> {
    let paths = Contract::read().document()["paths"].as_object().unwrap();
    let operations = paths.values().flat_map(|item| item.as_object().unwrap().values());
    operations.filter_map(|operation| Some(operation.get("operationId")?.as_str()?.to_owned())).collect()
}

#[test]
fn the_matrix_has_a_row_for_every_operation() {
    let rows = expected();
    for id in operations() {
        assert!(
            rows.iter().any(|known| known.row.name == id),
            "{id} has no row in gateway/tests/rounds/matrix.txt: say there who is answered what \
             (a draft: cargo test -p konclave-gateway --test rounds -- --ignored --nocapture print_the_matrix)"
        );
    }
    let names: std::collections::BTreeSet<&str> = rows.iter().map(|known| known.row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "a row of matrix.txt is there twice");
    for known in &rows {
        let apart = known.cells.iter().any(|cell| cell.contains('|'));
        assert!(!apart || known.remark.is_some(), "{}: say why it tells the two apart", known.row.name);
    }
}

#[tokio::test]
async fn every_caller_is_answered_as_the_matrix_says() {
    let expected = expected();
    let rows: Vec<&Row> = expected.iter().map(|known| &known.row).collect();
    let found = played(&rows).await;
    let mut wrong = String::new();
    for known in &expected {
        for (((column, _), said), is) in COLUMNS.iter().zip(&known.cells).zip(&found[&known.row.name]) {
            let is = is.as_ref().map_or_else(|fault| fault.as_str(), String::as_str);
            if is != *said {
                writeln!(wrong, "{} {column}: the matrix says {said}, and it is: {is}", known.row.name)
                    .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test]
#[ignore = "prints what is answered now, to be checked against the policies and copied into matrix.txt"]
async fn print_the_matrix() {
    let written = expected();
    let mut rows: Vec<Row> = written.into_iter().map(|known| known.row).collect();
    for id in operations() {
        if !rows.iter().any(|row| row.id() == id) {
            rows.push(Row::named(&id).unwrap());
        }
    }
    let found = played(&rows.iter().collect::<Vec<_>>()).await;
    for row in &rows {
        let cells = found[&row.name].iter().map(|cell| match cell {
            Ok(cell) => format!("{cell:12}"),
            Err(fault) => format!("({fault})"),
        });
        println!("{:26}{}", row.name, cells.collect::<String>().trim_end());
    }
}
