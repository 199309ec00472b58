#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    totp_fuzz::target::keycloak::check(data);
});
