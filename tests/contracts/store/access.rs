//! Opening and closing a store, for writing and for reading.

use domain::clock::SystemClock;
use domain::member::MemberCommand;
use domain::ports::{CommandError, Position, StoreError};
use std::sync::Arc;
use storage::{Access, OpenError};

use super::{Place, context, follow, on_both, register};

on_both! {
    a_store_opened_for_reading_reads_and_refuses_to_write,
    a_question_makes_no_store_and_changes_no_tables,
    a_store_is_healthy_until_it_is_shut_down,
    a_store_dropped_without_a_word_can_be_opened_again,
}

async fn a_store_opened_for_reading_reads_and_refuses_to_write(place: Place) {
    let writer = place.open().await;
    assert!(writer.writable);
    register(&writer, "mem_ada").await;
    let reader = place.try_open(Access::Read).await.unwrap();
    assert!(!reader.writable);
    assert_eq!(follow(&reader, 1).await, follow(&writer, 1).await);
    register(&writer, "mem_bob").await;
    assert_eq!(follow(&reader, 2).await, follow(&writer, 2).await, "it sees what is written later");
    reader.healthy().await.unwrap();

    let refused = reader.members.execute("mem_eve", MemberCommand::Register, context()).await;
    assert!(matches!(refused, Err(CommandError::Store(StoreError::ReadOnly(_)))), "{refused:?}");
    let refused = reader.views.begin("directory").await;
    assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
}

async fn a_question_makes_no_store_and_changes_no_tables(place: Place) {
    for access in [Access::Read, Access::WriteOrRead] {
        let refused = place.try_open(access).await.unwrap_err();
        let Place::Sqlite(_) = place else {
            assert!(matches!(refused, OpenError::Older { .. }), "{access:?}: {refused}");
            continue;
        };
        assert!(matches!(refused, OpenError::Missing(_)), "{access:?}: {refused}");
        assert!(!place.file().exists(), "{access:?}");
        std::fs::write(place.file(), "").unwrap();
        let refused = place.try_open(access).await.unwrap_err();
        assert!(matches!(refused, OpenError::Older { .. }), "{access:?}: {refused}");
        std::fs::remove_file(place.file()).unwrap();
    }
}

async fn a_store_is_healthy_until_it_is_shut_down(place: Place) {
    let storage = place.open().await;
    storage.healthy().await.unwrap();
    storage.shutdown().await;
    storage.shutdown().await;
    assert!(matches!(storage.healthy().await, Err(StoreError::Unavailable(_))));
    let late = storage.members.execute("mem_ada", MemberCommand::Register, context()).await;
    assert!(matches!(late, Err(CommandError::Store(StoreError::Unavailable(_)))), "{late:?}");
}

async fn a_store_dropped_without_a_word_can_be_opened_again(place: Place) {
    for opened in 1..4 {
        let storage = place.open().await;
        register(&storage, &format!("mem_{opened}")).await;
        assert_eq!(follow(&storage, opened).await.len(), opened);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_writer_on_the_same_file_is_refused() {
    let place = Place::sqlite();
    let first = place.open().await;
    let refused = place.try_open(Access::Write).await.unwrap_err();
    let text = refused.to_string();
    assert!(
        matches!(refused, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{text}"
    );
    assert!(text.contains("membership.db") && text.contains("stop it or use its API"), "{text}");

    let second = place.try_open(Access::WriteOrRead).await.unwrap();
    assert!(!second.writable);
    assert_eq!(second.feed.head().await.unwrap(), Position::START);
    register(&first, "mem_ada").await;
    assert_eq!(follow(&second, 1).await.len(), 1, "it sees what is written later");
    let refused = second.members.execute("mem_bob", MemberCommand::Register, context()).await.unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");

    first.shutdown().await;
    let third = place.try_open(Access::WriteOrRead).await.unwrap();
    assert!(third.writable, "nobody else writes any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_a_newer_release_is_refused() {
    let place = Place::sqlite();
    place.open().await.shutdown().await;
    place.execute("PRAGMA user_version = 999").await.unwrap();
    for access in [Access::Write, Access::Read] {
        let refused = place.try_open(access).await.unwrap_err();
        assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let place = Place::sqlite();
    let text =
        "This is a letter, and a rather long one so that it cannot be taken for an empty file.".repeat(20);
    std::fs::write(place.file(), &text).unwrap();
    for access in [Access::Write, Access::Read] {
        let refused = place.try_open(access).await.unwrap_err();
        assert!(matches!(refused, OpenError::Unusable { .. }), "{refused}");
    }
    assert_eq!(std::fs::read_to_string(place.file()).unwrap(), text);
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_without_telling_its_password() {
    let unusable = "postgres://ada:secret@127.0.0.1:1/membership";
    for url in [
        "",
        "membership.db",
        "mysql://host/db",
        "sqlite:",
        "sqlite::memory:",
        "sqlite://a.db?mode=rwc",
        unusable,
    ] {
        let refused = storage::open(url, Access::Write, Arc::new(SystemClock)).await.unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
        assert!(refused.contains(';'), "it says what to do: {refused}");
    }
    let missing = "sqlite:///no/such/folder/membership.db";
    let refused = storage::open(missing, Access::Write, Arc::new(SystemClock)).await.unwrap_err().to_string();
    assert!(refused.contains("/no/such/folder") && refused.contains("folder exists"), "{refused}");
}
