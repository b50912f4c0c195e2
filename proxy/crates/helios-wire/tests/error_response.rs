//! ErrorResponse and NoticeResponse: ours, PostgreSQL's, and broken ones.

use helios_wire::error_response::{error, notice, ErrorFields, Severity, MAX_TEXT_LEN};

const CACHED_PLAN: &[u8] =
    b"SFEHLER\0VERROR\0C0A000\0Mgecachter Plan darf den Ergebnistyp nicht \xe4ndern\0\
    Fplancache.c\0L718\0RRevalidateCachedQuery\0\0";

#[test]
fn fields_of_a_server_are_found_in_any_language() {
    let fields = ErrorFields::new(CACHED_PLAN);

    assert_eq!(fields.severity().as_deref(), Some("ERROR"));
    assert_eq!(fields.sqlstate(), Some("0A000"));
    assert_eq!(fields.routine().as_deref(), Some("RevalidateCachedQuery"));
    assert_eq!(
        fields.message().as_deref(),
        Some("gecachter Plan darf den Ergebnistyp nicht \u{fffd}ndern")
    );
    assert_eq!(fields.get(b'L'), Some(&b"718"[..]));
    assert_eq!((fields.detail(), fields.hint()), (None, None));
    assert!(!fields.is_fatal());
}

#[test]
fn severity_falls_back_to_the_localised_one() {
    assert_eq!(
        ErrorFields::new(b"SFATAL\0C57P01\0\0")
            .severity()
            .as_deref(),
        Some("FATAL")
    );
    assert!(ErrorFields::new(b"SFATAL\0\0").is_fatal());
    assert!(ErrorFields::new(b"SSCHWERWIEGEND\0VFATAL\0\0").is_fatal());
    assert!(ErrorFields::new(b"VPANIC\0\0").is_fatal());
}

#[test]
fn every_field_may_be_missing_or_broken() {
    for body in [
        &b""[..],
        b"\0",
        b"\0SFATAL\0\0",
        b"S",
        b"Sx",
        b"\xff\xff",
        b"C\0\0",
        b"C\xff\xff\xff\xff\xff\0\0",
        b"C57P0\0\0",
    ] {
        let fields = ErrorFields::new(body);
        assert_eq!(fields.sqlstate(), None, "{body:?}");
        assert_eq!(fields.message(), None);
        assert!(!fields.is_fatal());
    }
}

#[test]
fn our_own_have_tag_length_and_both_severities() {
    let packet = error(
        Severity::Fatal,
        "57P01",
        "going away",
        Some("reconnect"),
        None,
    );

    assert_eq!(
        packet,
        b"E\0\0\0\x31SFATAL\0VFATAL\0C57P01\0Mgoing away\0Hreconnect\0\0"
    );
    let packet = notice(Severity::Warning, "01000", "careful", None, Some("because"));
    assert_eq!(packet[0], b'N');
    let fields = ErrorFields::new(&packet[5..]);
    assert_eq!(fields.severity().as_deref(), Some("WARNING"));
    assert_eq!(fields.detail().as_deref(), Some("because"));
    assert_eq!(fields.hint(), None);
}

#[test]
fn our_own_are_well_formed_whatever_the_text() {
    let long = "é".repeat(MAX_TEXT_LEN);

    let packet = error(Severity::Error, "no", &long, Some("a\0Cevil\0"), Some(""));

    let len = u32::from_be_bytes([packet[1], packet[2], packet[3], packet[4]]);
    assert_eq!(usize::try_from(len).expect("fits"), packet.len() - 1);
    let fields = ErrorFields::new(&packet[5..]);
    assert_eq!(fields.sqlstate(), Some("XX000"));
    assert_eq!(fields.message().map(|text| text.len()), Some(MAX_TEXT_LEN));
    assert_eq!(fields.hint().as_deref(), Some("a?Cevil?"));
    assert_eq!(fields.iter().count(), 6);
}

#[test]
fn broken_bodies_never_panic() {
    let look = |body: &[u8]| {
        let fields = ErrorFields::new(body);
        let texts = [
            fields.severity(),
            fields.message(),
            fields.routine(),
            fields.detail(),
            fields.hint(),
        ];
        assert!(texts.iter().flatten().all(|text| !text.contains('\0')));
        assert!(fields.sqlstate().is_none_or(|code| code.len() == 5));
    };
    for end in 0..CACHED_PLAN.len() {
        look(&CACHED_PLAN[..end]);
    }
    let mut mutated = CACHED_PLAN.to_vec();
    for at in 0..mutated.len() {
        for byte in 0..=u8::MAX {
            mutated[at] = byte;
            look(&mutated);
        }
        mutated[at] = CACHED_PLAN[at];
    }
}
