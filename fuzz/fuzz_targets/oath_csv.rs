#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    totp_fuzz::target::oath_csv::check(data);
});
