//! `pg_hba.conf` of any text. Nothing panics, faults name lines that exist, and a record in front that rejects everybody
//! lets nobody by.
#![no_main]

use helios_wire::hba::{Hba, Method, Origin, Visitor};
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
    let network = Origin::Network {
        address: [10, 1, 2, 3].into(),
        own_address: [10, 1, 2, 4].into(),
    };
    for (is_encrypted, origin) in [(false, network), (true, network), (false, Origin::Local)] {
        let visitor = Visitor {
            is_encrypted,
            origin,
            database: "app",
            user: "alice",
            is_replication: false,
        };
        if let Some(record) = hba.find(&visitor) {
            assert!((1..=lines).contains(&record.line));
            assert!(is_encrypted || record.method != Method::Cert);
            assert!(matches!(origin, Origin::Local) || record.method != Method::Peer);
        }
        let closed = Hba::parse(&format!("local all all reject\nhost all all all reject\n{text}")).expect("one record more");
        let found = closed.find(&visitor).expect("the first");
        assert!(found.line <= 2 && found.method == Method::Reject);
    }
});
