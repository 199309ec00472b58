-- Hardware tokens.
CREATE ROLE regress_totp_vendor;
GRANT totp_admin TO regress_totp_vendor;
GRANT SET ON PARAMETER totp.clock TO regress_totp_vendor;
SET ROLE regress_totp_vendor;
SET totp.clock = '2030-07-01 00:00:00+00';

-- OATH CSV. A broken line is reported, and the others are imported.
SELECT * FROM totp.import_oath_csv('serial,secret,type,digits,period
T1,3132333435363738393031323334353637383930,totp,6,30
T2,3132333435363738393031323334353637383930313233343536373839303132,TOTP,8,60
T3,3132333435363738393031323334353637383930
T4,3132333435363738393031323334353637383930,ocra
T5,31323334,totp
T6,secret,totp
T7,3132333435363738393031323334353637383930,totp,9
T8,3132333435363738393031323334353637383930,totp,6,x
T9,3132333435363738393031323334353637383930,totp
T9,3132333435363738393031323334353637383931,totp
,3132333435363738393031323334353637383930,totp', reason => 'regression test');
SELECT * FROM totp.import_oath_csv('T1,3132333435363738393031323334353637383930,totp,6,30');
SELECT * FROM totp.import_oath_csv('T1,3132333435363738393031323334353637383931,totp,6,30');
SELECT * FROM totp.import_oath_csv('T0,3132333435363738393031323334353637383930,totp', dry_run => true);

-- PSKC.
SELECT * FROM totp.import_pskc('<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc">
 <KeyPackage><DeviceInfo><SerialNo>P1</SerialNo></DeviceInfo>
  <Key Id="1" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp">
   <AlgorithmParameters><ResponseFormat Length="6" Encoding="DECIMAL"/></AlgorithmParameters>
   <Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret>
    <TimeInterval><PlainValue>30</PlainValue></TimeInterval></Data></Key></KeyPackage>
 <KeyPackage><Key Id="P2" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp"/></KeyPackage>
 <KeyPackage><Key Id="P3" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp"/></KeyPackage>
</KeyContainer>', reason => 'regression test');
SELECT serial, algorithm, digits, period, account, assigned_at, created_at FROM totp.hardware_token_status ORDER BY serial;
SELECT account, event, outcome, detail FROM totp.audit_log WHERE detail ->> 'reason' = 'regression test' AND account = '' ORDER BY id;

-- What is no document is refused.
\set VERBOSITY default
SELECT * FROM totp.import_oath_csv('no columns');
SELECT * FROM totp.import_oath_csv('');
SELECT * FROM totp.import_oath_csv(NULL);
SELECT * FROM totp.import_pskc('<KeyContainer>');
SELECT * FROM totp.import_pskc('<!DOCTYPE k [<!ENTITY a "x">]><KeyContainer>&a;</KeyContainer>');
SELECT * FROM totp.import_pskc('<KeyContainer><KeyPackage><Key Id="1"><Data><Secret><EncryptedValue/></Secret></Data></Key></KeyPackage></KeyContainer>');
SELECT * FROM totp.import_pskc('<KeyContainer/>', '');
SELECT * FROM totp.import_pskc('<KeyContainer/>', 'no.key');
SELECT * FROM totp.import_privacyidea('no export');

-- A token is assigned with two codes in a row. Its clock is 100 steps behind.
CREATE FUNCTION pg_temp.code(ahead integer) RETURNS text LANGUAGE sql AS $$
    SELECT totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-07-01 00:00:00+00'::timestamptz + (ahead - 100) * interval '30 s')
$$;
SELECT assigned, cardinality(backup_codes) AS codes, reason, retry_after_seconds
FROM totp.token_assign('token alice', 'T1', pg_temp.code(1), pg_temp.code(0));
SELECT assigned, cardinality(backup_codes) AS codes, reason, retry_after_seconds
FROM totp.token_assign('token alice', 'T1', 'x', NULL);
SELECT failures, enabled FROM totp.totp_status('token alice');
SELECT assigned, cardinality(backup_codes) AS codes, reason, retry_after_seconds
FROM totp.token_assign('token alice', ' T1 ', pg_temp.code(0), pg_temp.code(1));
SELECT failures, enabled FROM totp.totp_status('token alice');
SELECT account, label, drift FROM totp.factor_status WHERE account = 'token alice';
SELECT serial, account, assigned_at FROM totp.hardware_token_status WHERE account IS NOT NULL;
SELECT * FROM totp.token_assign('token bob', 'T1', pg_temp.code(2), pg_temp.code(3));
SELECT * FROM totp.token_assign('token alice', 'P1', pg_temp.code(2), pg_temp.code(3));
SELECT * FROM totp.token_assign('token bob', 'T99', '123456', '123456');
SELECT * FROM totp.token_assign('token bob', '', '123456', '123456');
SELECT * FROM totp.token_assign(NULL, 'T1', '123456', '123456');
SELECT event, outcome, detail FROM totp.audit_log WHERE account = 'token alice' ORDER BY id;

-- Once its factor is gone, it can be assigned again, but not with the codes that are spent.
SELECT totp.totp_reset('token alice', 'regression test');
SELECT assigned, reason FROM totp.token_assign('token bob', 'T1', pg_temp.code(0), pg_temp.code(1));
SELECT assigned, reason FROM totp.token_assign('token bob', 'T1', pg_temp.code(2), pg_temp.code(3));
SELECT outcome FROM totp.audit_log WHERE account = 'token bob' ORDER BY id;

-- A token that was removed leaves its factor.
SELECT totp.token_remove('T1', 'lost'), totp.token_remove('T1', 'lost');
SELECT totp.token_remove('T1', 'x');
SELECT count(*) FROM totp.factor_status WHERE account = 'token bob';
SELECT count(totp.token_remove(serial, 'end of the test')) FROM totp.hardware_token_status;
RESET ROLE;
DROP OWNED BY regress_totp_vendor;
DROP ROLE regress_totp_vendor;
