//! A stream of messages, read as either side reads it.
#![no_main]

use helios_wire::backend::{read_backend_key_data, read_parameter_status, Authentication};
use helios_wire::error_response::ErrorFields;
use helios_wire::frame::{header, HEADER_LEN, MAX_MESSAGE_LEN};
use helios_wire::frontend::{
    bind_head, read_bind_head, read_parse, read_sasl_initial, read_target,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some(head)) = header(rest) {
        assert!((HEADER_LEN..=MAX_MESSAGE_LEN + 1).contains(&head.total));
        assert_eq!(head.body_len() + HEADER_LEN, head.total);
        let Some((message, after)) = rest.split_at_checked(head.total) else {
            break;
        };
        read_body(&message[HEADER_LEN..]);
        rest = after;
    }
    // A peer may also put anything into any body, so read it without a frame as well.
    read_body(data);
});

fn read_body(body: &[u8]) {
    if let Some((_, name)) = read_target(body) {
        assert_eq!(name.len() + 2, body.len());
    }
    if let Some((name, rest)) = read_parse(body) {
        assert_eq!(name.len() + 1 + rest.len(), body.len());
    }
    rename_bind(body);
    let _ = read_sasl_initial(body);
    let _ = Authentication::parse(body);
    let _ = read_parameter_status(body);
    let _ = read_backend_key_data(body);

    let fields = ErrorFields::new(body);
    assert!(fields
        .iter()
        .all(|(code, value)| code != 0 && !value.contains(&0)));
    assert!(fields.sqlstate().is_none_or(|code| code.len() == 5));
    let _ = (
        fields.severity(),
        fields.message(),
        fields.detail(),
        fields.hint(),
        fields.routine(),
    );
    let _ = fields.is_fatal();
}

/// A renamed Bind must be one whole message whose tail is the original's.
fn rename_bind(body: &[u8]) {
    let Some(head) = read_bind_head(body) else {
        return;
    };
    let tail = &body[head.len..];
    let mut renamed = Vec::new();
    bind_head(
        |piece| renamed.extend_from_slice(piece),
        head.portal,
        b"helios_1",
        tail.len(),
    );
    renamed.extend_from_slice(tail);
    let total = header(&renamed)
        .expect("a valid length")
        .expect("a whole header")
        .total;
    assert_eq!(total, renamed.len());
    let again = read_bind_head(&renamed[HEADER_LEN..]).expect("a Bind");
    assert_eq!(
        (again.portal, again.statement),
        (head.portal, &b"helios_1"[..])
    );
    assert_eq!(&renamed[HEADER_LEN + again.len..], tail);
}
