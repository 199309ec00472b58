#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    totp_fuzz::target::allauth::check(data);
});
