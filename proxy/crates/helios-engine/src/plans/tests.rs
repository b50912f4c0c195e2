//! Which plan a statement gets, by text and by database, and when it holds no longer.

use std::sync::LazyLock;

use helios_sql::Encoding;

use super::*;
use crate::catalog::Definition;

const CLEAN: &str = "[]";
const SETTINGS: &str = "[\"settings\"]";

/// Plans, and what a worker remembers of them.
struct Desk {
    plans: Plans,
    own: Own,
}

impl Desk {
    fn new() -> Desk {
        Desk {
            plans: Plans::new(&[7; 16]),
            own: Own::default(),
        }
    }

    fn find(&mut self, catalog: &Arc<Catalog>, sql: &str) -> Result<Arc<Plan>, Wanted> {
        self.plans.find(&mut self.own, statement(catalog, sql))
    }

    /// Asks, has the planner answer, and finds the plan.
    fn plan(&mut self, catalog: &Arc<Catalog>, sql: &str, effects: &str, more: &str) -> Arc<Plan> {
        let id = self.ask(catalog, sql);
        self.answer(id, effects, more);
        self.find(catalog, sql).expect("a plan")
    }

    fn ask(&mut self, catalog: &Arc<Catalog>, sql: &str) -> u64 {
        let wanted = self.find(catalog, sql).expect_err("no plan");
        let nobody = Context::from_waker(Waker::noop());
        let asked = self
            .plans
            .poll(wanted, "app", statement(catalog, sql), &nobody);
        assert!(asked.is_pending());
        let questions = self.plans.next(Duration::ZERO).expect("a question");
        let questions: serde_json::Value = serde_json::from_slice(&questions).expect("JSON");
        assert_eq!(questions[0]["text"], sql);
        assert_eq!(questions[0]["database"], catalog.database);
        assert_eq!(questions[0]["defined"], catalog.defined());
        questions[0]["id"].as_u64().expect("an id")
    }

    fn answer(&self, id: u64, effects: &str, more: &str) {
        let rest = format!(
            "\"kind\":\"read\",\"settings\":[],\"defines\":false,\"block\":null,\"handling\":null,\"rerun\":\"repeats\",\"mutable\":false,\"kept\":null,\"holding\":null,\"tables\":[],{ROUTING},{more}"
        );
        let document = format!("{{\"id\":{id},\"plan\":{{\"effects\":{effects},{rest}}}}}");
        self.plans.decide(document.as_bytes()).expect("an answer");
    }
}

const ROUTING: &str = r#""routing":{"route":"primary","reason":"","origin":"statement","node":null,
"consistency":null,"max_lag_ms":null,"timeout_ms":null,"notices":[],"has_token":false,"write_mode":null}"#;
const PLAIN: &str = "\"exact\":false,\"reads\":[]";
const BY_CATALOG: &str = "\"exact\":false,\"reads\":[\"catalog\"]";
const BY_BOTH: &str = "\"exact\":true,\"reads\":[\"catalog\"]";

static NO_CLASS: LazyLock<Class> = LazyLock::new(Class::default);

fn statement<'a>(catalog: &'a Arc<Catalog>, sql: &'a str) -> Statement<'a> {
    let syntax = Syntax {
        standard_conforming_strings: true,
        encoding: Encoding::AsciiSafe,
    };
    Statement {
        sql: sql.as_bytes(),
        syntax,
        catalog,
        class: &NO_CLASS,
    }
}

#[test]
fn a_plan_of_the_text_alone_is_for_all_databases() {
    let mut desk = Desk::new();
    let (one, two) = (
        desk.plans.catalogs.of("main", "one"),
        desk.plans.catalogs.of("main", "two"),
    );
    desk.plan(&one, "select 1", CLEAN, PLAIN);

    assert!(desk.find(&two, "select 2").is_ok());
    desk.plans.catalogs.outdate("main", "one");
    assert!(desk.find(&one, "select 3").is_ok());
}

#[test]
fn a_plan_by_the_catalog_is_for_its_database() {
    let mut desk = Desk::new();
    let (one, two) = (
        desk.plans.catalogs.of("main", "one"),
        desk.plans.catalogs.of("main", "two"),
    );
    let clean = desk.plan(&one, "select f(1)", CLEAN, BY_CATALOG);
    let sets = desk.plan(&two, "select f(2)", SETTINGS, BY_CATALOG);

    assert!(clean.doubts() == Doubts::NONE && sets.doubts() == Doubts::SETTINGS);
    for (catalog, plan) in [(&one, &clean), (&two, &sets)] {
        let found = desk.find(catalog, "select f(3)").expect("a plan");
        assert!(Arc::ptr_eq(&found, plan));
    }
}

#[test]
fn a_familiar_text_has_the_plan_that_its_shape_has() {
    let mut desk = Desk::new();
    let (one, two) = (
        desk.plans.catalogs.of("main", "one"),
        desk.plans.catalogs.of("main", "two"),
    );
    let clean = desk.plan(&one, "select f(1), 'a'", CLEAN, BY_CATALOG);
    let is_known =
        |desk: &Desk, catalog, sql| desk.own.familiar.get(statement(catalog, sql)).is_some();

    assert!(is_known(&desk, &one, "select f(22), 'b'"));
    assert!(!is_known(&desk, &one, "select f(22), 'it''s'"));
    assert!(!is_known(&desk, &two, "select f(1), 'a'"));

    desk.plans.catalogs.outdate("main", "one");
    assert!(!is_known(&desk, &one, "select f(1), 'a'"));
    let sets = desk.plan(&one, "select f(1), 'a'", SETTINGS, BY_CATALOG);
    let found = desk.find(&one, "select f(3), 'c'").expect("a plan");
    assert!(is_known(&desk, &one, "select f(3), 'c'"));
    assert!(Arc::ptr_eq(&found, &sets) && !Arc::ptr_eq(&found, &clean));
}

#[test]
fn a_text_whose_literals_matter_does_not_become_familiar() {
    let mut desk = Desk::new();
    let catalog = desk.plans.catalogs.of("main", "app");
    desk.plan(
        &catalog,
        "select g('a')",
        CLEAN,
        "\"exact\":true,\"reads\":[]",
    );

    assert!(desk.find(&catalog, "select g('a')").is_ok());
    assert!(desk.find(&catalog, "select g('b')").is_err());
}

#[test]
fn text_and_catalog_may_both_matter() {
    let mut desk = Desk::new();
    let catalog = desk.plans.catalogs.of("main", "app");
    desk.plan(&catalog, "do 'f()'", CLEAN, BY_BOTH);
    let sets = desk.plan(&catalog, "do 'g()'", SETTINGS, BY_BOTH);

    assert!(desk.find(&catalog, "do 'f()'").expect("a plan").doubts() == Doubts::NONE);
    assert!(Arc::ptr_eq(
        &desk.find(&catalog, "do 'g()'").expect("a plan"),
        &sets
    ));
}

#[test]
fn an_outdated_plan_may_do_anything_and_is_made_anew() {
    let mut desk = Desk::new();
    let catalog = desk.plans.catalogs.of("main", "app");
    let old = desk.plan(&catalog, "select f()", CLEAN, BY_CATALOG);

    desk.plans.catalogs.outdate("main", "app");

    assert!(old.doubts() == Doubts::ANYTHING && !old.is_current());
    let new = desk.plan(&catalog, "select f()", SETTINGS, BY_CATALOG);
    assert!(new.doubts() == Doubts::SETTINGS && new.is_current());
}

#[test]
fn an_answer_that_comes_after_a_definition_is_outdated() {
    let mut desk = Desk::new();
    let catalog = desk.plans.catalogs.of("main", "app");
    desk.plan(&catalog, "select f()", CLEAN, BY_CATALOG);
    let definition = Definition::begin(&catalog);
    let during = desk.find(&catalog, "select f()").expect("a plan");
    assert!(during.doubts() == Doubts::ANYTHING);
    desk.plans.catalogs.outdate("main", "app");
    let id = desk.ask(&catalog, "select f()");
    drop(definition);
    desk.answer(id, CLEAN, BY_CATALOG);

    assert!(desk.find(&catalog, "select f()").is_err());
}
