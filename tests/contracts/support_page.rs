//! What `docs/support.md` says is on the console's pages is on them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// What a cell names: pages in backticks, each followed by words in quotes that stand on it.
fn named(cell: &str) -> Vec<(&str, &str)> {
    let (mut named, mut page, mut rest) = (Vec::new(), "", cell);
    while let Some(start) = rest.find(['`', '"']) {
        let (mark, after) = rest[start..].split_at(1);
        let Some((text, then)) = after.split_once(mark) else { break };
        if mark == "`" {
            page = text;
        } else {
            named.push((page, text));
        }
        rest = then;
    }
    named
}

/// What is missing of what the rows of the table name.
fn missing(document: &str) -> BTreeSet<String> {
    let (_, table) = document.split_once("## What one screen answers").expect("the table");
    let cells = table.lines().filter_map(|row| row.strip_prefix("| ")?.split('|').nth(2));
    let named: Vec<_> = cells.flat_map(named).collect();
    assert!(named.len() >= 25, "the table names what is on the pages: {named:?}");
    let is_there =
        |(page, words): &&(&str, &str)| read(&format!("console/templates/{page}.html")).contains(*words);
    named.iter().filter(|named| !is_there(named)).map(|(page, words)| format!("{page}: {words}")).collect()
}

#[test]
fn every_question_of_support_is_answered_where_the_document_says() {
    let document = read("docs/support.md");
    for question in 1..=13 {
        assert!(document.contains(&format!("| {question} | ")), "question {question} has no row");
    }
    assert_eq!(missing(&document), BTreeSet::new());
    let changed = document.replace("\"Every source of access\"", "\"Every fountain of access\"");
    assert_eq!(missing(&changed), BTreeSet::from(["member: Every fountain of access".to_owned()]));
}
