#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    totp_fuzz::target::base32::check(data);
});
