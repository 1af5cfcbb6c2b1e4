//! The arrows between crates point one way, and the rules have no I/O.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// What each crate of ours may use of ours in what it ships.
const ARROWS: [(&str, &[&str]); 13] = [
    ("domain", &[]),
    ("migrations", &[]),
    ("projections", &["domain"]),
    ("webhook-ingest", &["domain"]),
    ("billing", &["domain", "webhook-ingest"]),
    ("accounts", &["domain"]),
    ("openid", &["domain", "accounts"]),
    ("api", &["domain", "projections", "accounts"]),
    ("console", &["domain", "projections", "accounts", "api"]),
    ("storage", &["domain", "projections", "webhook-ingest", "accounts", "migrations"]),
    ("stripe-simulator", &[]),
    (
        "server",
        &[
            "domain",
            "projections",
            "webhook-ingest",
            "billing",
            "accounts",
            "openid",
            "api",
            "console",
            "storage",
            "stripe-simulator",
        ],
    ),
    (
        "tests",
        &[
            "domain",
            "projections",
            "webhook-ingest",
            "billing",
            "accounts",
            "api",
            "storage",
            "stripe-simulator",
            "server",
        ],
    ),
];

/// Crates that reach the outside. The rules use none of them, however far down.
const OUTSIDE: [&str; 9] =
    ["axum", "hyper", "reqwest", "sqlx", "sqlx-core", "rusqlite", "postgres-es", "kurrentdb", "async-stripe"];

fn metadata() -> Metadata {
    MetadataCommand::new().exec().unwrap()
}

fn ours(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let uses = |package: &cargo_metadata::Package| {
        let shipped =
            package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        shipped.map(|dependency| dependency.name.clone()).filter(|name| names.contains(name)).collect()
    };
    metadata.workspace_packages().iter().map(|package| (package.name.to_string(), uses(package))).collect()
}

/// The first arrow that is not allowed, if there is one.
fn forbidden(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    uses.iter().find_map(|(from, to)| {
        let Some(allowed) = allowed.get(from.as_str()) else {
            return Some(format!("{from} is not in the plan"));
        };
        let bad = to.iter().find(|to| !allowed.contains(&to.as_str()))?;
        Some(format!("{from} uses {bad}"))
    })
}

/// Everything a package pulls in, itself included.
fn pulled_in(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let root = metadata.packages.iter().find(|package| package.name.as_str() == name).unwrap();
    let (mut open, mut seen) = (vec![root.id.clone()], BTreeSet::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == id).unwrap();
        let shipped = |dependency: &&cargo_metadata::NodeDep| {
            dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        open.extend(node.deps.iter().filter(shipped).map(|dependency| dependency.pkg.clone()));
    }
    let of_id = |package: &&cargo_metadata::Package| seen.contains(&package.id);
    metadata.packages.iter().filter(of_id).map(|package| package.name.to_string()).collect()
}

#[test]
fn crates_use_each_other_in_one_direction_only() {
    assert_eq!(forbidden(&ours(&metadata())), None);
}

#[test]
fn only_billing_names_crates_of_async_stripe() {
    let metadata = metadata();
    let names = |package: &cargo_metadata::Package| {
        package.dependencies.iter().any(|dependency| dependency.name.starts_with("async-stripe"))
    };
    let packages = metadata.workspace_packages();
    let naming: Vec<&str> =
        packages.iter().filter(|package| names(package)).map(|package| package.name.as_str()).collect();
    assert_eq!(naming, ["billing"]);
}

#[test]
fn an_arrow_that_turns_round_is_noticed() {
    let mut uses = ours(&metadata());
    uses.get_mut("domain").unwrap().insert("storage".to_owned());
    assert_eq!(forbidden(&uses), Some("domain uses storage".to_owned()));
}

#[test]
fn the_rules_pull_in_nothing_that_reaches_the_outside() {
    let metadata = metadata();
    let domain = pulled_in(&metadata, "domain");
    let found: Vec<_> = OUTSIDE.iter().filter(|name| domain.contains(**name)).collect();
    assert!(found.is_empty(), "domain pulls in {found:?}");
    assert!(pulled_in(&metadata, "storage").contains("rusqlite"), "the search itself works");
}

#[test]
fn only_the_tests_build_a_program_that_can_be_killed_at_failpoints() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let turned_on =
            package.features.get("default").is_some_and(|on| on.iter().any(|on| on == "failpoints"));
        assert!(!turned_on, "{} has failpoints by itself", package.name);
        let asks = package.dependencies.iter().any(|used| used.features.iter().any(|on| on == "failpoints"));
        assert_eq!(asks, package.name.as_str() == "tests", "{}", package.name);
    }
}
