use cqrs_es::test::TestFramework;

use super::*;
use crate::ids::PriceId;
use crate::subscription::Item;

fn plan(id: &str, rank: i32, prices: &[&str], products: &[&str]) -> Plan {
    Plan {
        id: id.into(),
        name: id.to_owned(),
        rank,
        prices: prices.iter().map(|id| (*id).into()).collect(),
        products: products.iter().map(|id| (*id).into()).collect(),
        trial_days: None,
    }
}

fn content() -> Content {
    Content {
        plans: vec![plan("basic", 1, &["price_b"], &["prod_b"]), plan("pro", 2, &["price_p"], &["prod_p"])],
        roadmaps: vec![Roadmap {
            id: "start".into(),
            name: "Start".to_owned(),
            plans: vec!["basic".into()],
            place: 0,
        }],
        courses: vec![Course {
            id: "rust".into(),
            name: "Rust".to_owned(),
            free: false,
            roadmap: "start".into(),
            place: 0,
        }],
        videos: vec![Video {
            id: "hello".into(),
            name: "Hello".to_owned(),
            free: false,
            course: "rust".into(),
            place: 0,
            playback: None,
        }],
        ..Content::default()
    }
}

fn apply(content: Content) -> CatalogCommand {
    CatalogCommand::Apply(Box::new(content))
}

fn events_of(content: Content) -> Vec<CatalogEvent> {
    decide(&Catalog::default(), apply(content)).unwrap()
}

fn catalog_of(contents: impl IntoIterator<Item = Content>) -> Catalog {
    let mut catalog = Catalog::default();
    for content in contents {
        for event in decide(&catalog, apply(content)).unwrap() {
            evolve(&mut catalog, &event);
        }
    }
    catalog
}

fn item(price: Option<&str>, product: Option<&str>) -> Item {
    Item { price: price.map(PriceId::from), product: product.map(Into::into), period_end: None }
}

#[test]
fn applying_the_same_catalogue_again_changes_nothing() {
    TestFramework::<Catalog>::with(())
        .given(events_of(content()))
        .when(apply(content()))
        .then_expect_events(vec![]);
}

#[test]
fn only_what_differs_becomes_an_event() {
    let mut other = content();
    other.videos[0].free = true;
    let video = other.videos[0].clone();
    TestFramework::<Catalog>::with(())
        .given(events_of(content()))
        .when(apply(other))
        .then_expect_events(vec![CatalogEvent::VideoDefined { video }]);
}

#[test]
fn what_is_no_longer_in_the_file_is_removed() {
    let mut other = content();
    other.videos.clear();
    TestFramework::<Catalog>::with(())
        .given(events_of(content()))
        .when(apply(other))
        .then_expect_events(vec![CatalogEvent::VideoRemoved { id: "hello".into() }]);
}

#[test]
fn a_catalogue_that_contradicts_itself_is_refused_whole() {
    let refuse = |change: fn(&mut Content)| {
        let mut content = content();
        change(&mut content);
        decide(&Catalog::default(), apply(content)).unwrap_err().to_string()
    };
    assert!(refuse(|c| c.videos.push(c.videos[0].clone())).contains("\"hello\" is there twice"));
    assert!(refuse(|c| c.videos[0].course = "gone".into()).contains("names \"gone\""));
    assert!(refuse(|c| c.courses[0].roadmap = "gone".into()).contains("names \"gone\""));
    assert!(refuse(|c| c.roadmaps[0].plans = vec!["gone".into()]).contains("names \"gone\""));
    assert!(refuse(|c| c.plans[1].prices = vec!["price_b".into()]).contains("can stand for one only"));
}

#[test]
fn a_catalogue_has_at_most_64_plans_over_its_life() {
    let plans = |from: usize, to: usize| Content {
        plans: (from..to).map(|n| plan(&format!("plan-{n}"), 1, &[], &[])).collect(),
        ..Content::default()
    };
    let held = catalog_of([plans(0, 40)]);
    assert_eq!(decide(&held, apply(plans(40, 65))), Err(CatalogError::TooManyPlans));
    assert!(decide(&held, apply(plans(40, 64))).is_ok());
}

#[test]
fn a_plan_is_found_by_price_then_by_product_and_the_best_comes_first() {
    let catalog = catalog_of([content()]);
    let plans =
        |items: &[Item]| -> Vec<String> { catalog.plans_of(items).iter().map(ToString::to_string).collect() };
    assert_eq!(plans(&[item(Some("price_b"), Some("prod_p"))]), ["basic"]);
    assert_eq!(plans(&[item(Some("price_new"), Some("prod_p"))]), ["pro"]);
    assert_eq!(plans(&[item(Some("price_b"), None), item(Some("price_p"), None)]), ["pro", "basic"]);
    assert!(plans(&[item(Some("price_mug"), None)]).is_empty());
}

#[test]
fn a_price_that_left_the_catalogue_keeps_its_members_on_their_plan() {
    let mut later = content();
    later.plans[0].prices.clear();
    later.plans[0].products.clear();
    let catalog = catalog_of([content(), later]);
    let opened = catalog.opened_by(&[item(Some("price_b"), None)], &["basic".into()]);
    assert_eq!(catalog.best_of(opened), Some("basic".into()));
}

#[test]
fn a_plan_keeps_its_bit_when_others_come_and_go() {
    let mut without_basic = content();
    without_basic.plans.remove(0);
    without_basic.roadmaps[0].plans = vec!["pro".into()];
    let before = catalog_of([content()]);
    let after = catalog_of([content(), without_basic, content()]);
    assert_eq!(before.set_of(&["pro".into()]), after.set_of(&["pro".into()]));
    assert_eq!(before.set_of(&["basic".into()]), after.set_of(&["basic".into()]));
}
