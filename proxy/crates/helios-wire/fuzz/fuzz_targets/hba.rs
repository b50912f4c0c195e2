//! `pg_hba.conf` of any text. Nothing panics, faults name lines that exist, and a record in front that rejects everybody
//! lets nobody by.
#![no_main]

use helios_wire::hba::{Hba, Method, Visitor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lines = text.split('\n').count();
    let hba = match Hba::parse(text) {
        Ok(hba) => hba,
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(error.line <= lines && !error.message.is_empty());
            }
            return;
        }
    };
    for is_encrypted in [false, true] {
        let visitor = Visitor {
            is_encrypted,
            address: [10, 1, 2, 3].into(),
            own_address: [10, 1, 2, 4].into(),
            database: "app",
            user: "alice",
            is_replication: false,
        };
        if let Some(record) = hba.find(&visitor) {
            assert!((1..=lines).contains(&record.line));
            assert!(is_encrypted || record.method != Method::Cert);
        }
        let closed = Hba::parse(&format!("host all all all reject\n{text}")).expect("one record more");
        let found = closed.find(&visitor).expect("the first");
        assert_eq!((found.line, found.method), (1, Method::Reject));
    }
});
