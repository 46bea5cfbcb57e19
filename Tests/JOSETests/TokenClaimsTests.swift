import JOSE
import Testing

/// R85: all of `iss`, `aud`, `exp`, `iat` and `sub` are required and checked.
struct TokenClaimsTests {
    private let issuer: TestIssuer

    init() throws { issuer = try TestIssuer.shared.get() }

    /// Good claims with some replaced or, by `nil`, left out.
    private func refusal(
        _ changes: [String: String?], now: Int64 = TestIssuer.now, verifier: TokenVerifier? = nil
    ) throws -> TokenError? {
        var claims = [
            "iss": #""https://iam""#, "aud": #""oms""#, "sub": #""u1""#, "iat": "1699999990", "exp": "1700000300",
        ]
        for (name, value) in changes { claims[name] = value }
        let text = "{" + claims.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
        return (verifier ?? issuer.verifier).refusal(of: try issuer.token(claims: text), now: now)
    }

    @Test func `R85 each required claim is missed`() throws {
        #expect(try refusal([:]) == nil)
        #expect(try refusal(["iss": nil]) == .issuerWrong)
        #expect(try refusal(["aud": nil]) == .audienceWrong)
        #expect(try refusal(["sub": nil]) == .subjectInvalid)
        #expect(try refusal(["exp": nil]) == .expirationInvalid)
        #expect(try refusal(["iat": nil]) == .issuedAtInvalid)
    }

    @Test func `R85 a time of issue may be missing only where the rules say so`() throws {
        let lenient = try TokenVerifier(
            issuer: "https://iam", audiences: ["oms"], algorithms: [.es256], requiresIssuedAt: false,
            keys: .publicKeys(issuer.keys))
        #expect(try refusal(["iat": nil], verifier: lenient) == nil)
        #expect(try refusal(["iat": #""1699999990""#], verifier: lenient) == .issuedAtInvalid)
        #expect(try refusal(["exp": nil], verifier: lenient) == .expirationInvalid)
    }

    @Test(arguments: [
        #""https://iam/""#, #""HTTPS://iam""#, #""https://ia""#, #""""#, "null", "1", #"["https://iam"]"#,
        #""https://iam\u0000""#, #"" https://iam""#,
    ])
    func `R85 the issuer is compared byte by byte`(value: String) throws {
        #expect(try refusal(["iss": value]) == .issuerWrong)
    }

    @Test func `R85 names that Unicode calls equivalent are not equal`() throws {
        let verifier = try TokenVerifier(
            issuer: "K", audiences: ["K"], algorithms: [.es256], keys: .publicKeys(issuer.keys))
        #expect(try refusal(["iss": #""K""#, "aud": #""K""#], verifier: verifier) == nil)
        #expect(try refusal(["iss": #""\u212A""#, "aud": #""K""#], verifier: verifier) == .issuerWrong)
        #expect(try refusal(["iss": #""K""#, "aud": #""\u212A""#], verifier: verifier) == .audienceWrong)
    }

    @Test(
        arguments: [
            (#""oms""#, nil), (#""crm""#, nil), (#"["oms"]"#, nil), (#"["x","y","crm"]"#, nil),
            (#""OMS""#, TokenError.audienceWrong), (#""oms ""#, .audienceWrong), (#""oms,crm""#, .audienceWrong),
            (#""oms crm""#, .audienceWrong), (#""""#, .audienceWrong), ("[]", .audienceWrong),
            (#"["x"]"#, .audienceWrong),
            (#"["oms",1]"#, .audienceWrong), (#"[["oms"]]"#, .audienceWrong), (#"{"oms":"oms"}"#, .audienceWrong),
            ("null", .audienceWrong), ("true", .audienceWrong), ("1", .audienceWrong),
        ] as [(String, TokenError?)])
    func `R85 one audience must be ours`(value: String, error: TokenError?) throws {
        #expect(try refusal(["aud": value]) == error)
    }

    @Test func `R85 the subject is a string of 1 to 255 bytes`() throws {
        for value in [#""""#, "1", "null", #"["u1"]"#, "{}"] {
            #expect(try refusal(["sub": value]) == .subjectInvalid)
        }
        let umlaut = "\u{E4}"
        for (text, error) in [
            (String(repeating: "s", count: 255), nil), (String(repeating: "s", count: 256), .subjectInvalid),
            (String(repeating: umlaut, count: 127), nil), (String(repeating: umlaut, count: 128), .subjectInvalid),
        ] as [(String, TokenError?)] {
            #expect(try refusal(["sub": "\"\(text)\""]) == error)
        }
    }

    @Test(arguments: [
        "1e300", "-1e300", "1e400", "-1", "-0.5", "-1700000300", "9223372036854775807", "9223372036854775808",
        "253402300800", "253402300799.5", #""1700000300""#, "null", "true", "[1700000300]", "{}", #""""#,
        "1e999999999999999999",
    ])
    func `R85 what is no time between the epoch and the year 9999 is refused`(value: String) throws {
        #expect(try refusal(["exp": value]) == .expirationInvalid)
        #expect(try refusal(["nbf": value]) == .notBeforeInvalid)
        #expect(try refusal(["iat": value]) == .issuedAtInvalid)
    }

    @Test(
        arguments: [
            ("1700000000", 60), ("1700000000.0", 60), ("1700000000.999", 60), ("17e8", 60), ("1.7E9", 60),
            ("1699999999.999", 59), ("1699999941", 1), ("1699999940", 0), ("0", -1_699_999_940), ("-0", -1_699_999_940),
            ("253402300799", nil),
        ] as [(String, Int64?)])
    func `R85 a token ends a skew after its expiration, fractions cut off`(value: String, seconds: Int64?) throws {
        let last = TestIssuer.now + (seconds ?? 200_000_000_000) - 1
        if last >= 0, seconds != nil { #expect(try refusal(["exp": value, "iat": "0"], now: last) == nil) }
        if seconds != nil { #expect(try refusal(["exp": value, "iat": "0"], now: last + 1) == .expired) }
        if seconds == nil { #expect(try refusal(["exp": value, "iat": "0"], now: last) == nil) }
    }

    @Test(
        arguments: [
            ("1700000060", 0), ("1700000060.0", 0), ("1700000060.001", 1), ("1700000061", 1), ("1700000059.5", 0),
            ("0", nil),
        ] as [(String, Int64?)])
    func `R85 a token begins a skew before its time, fractions counted in full`(value: String, seconds: Int64?) throws {
        let far = ["exp": "1800000000"]
        guard let seconds else {
            #expect(try refusal(far.merging(["nbf": value]) { $1 }) == nil)
            #expect(try refusal(far.merging(["iat": value]) { $1 }) == nil)
            return
        }
        let first = TestIssuer.now + seconds
        #expect(try refusal(far.merging(["nbf": value]) { $1 }, now: first) == nil)
        #expect(try refusal(far.merging(["nbf": value]) { $1 }, now: first - 1) == .notYetValid)
        #expect(try refusal(far.merging(["iat": value]) { $1 }, now: first) == nil)
        #expect(try refusal(far.merging(["iat": value]) { $1 }, now: first - 1) == .issuedInFuture)
    }

    @Test func `R85 without a skew the boundaries are those of the claims`() throws {
        let strict = try TokenVerifier(
            issuer: "https://iam", audiences: ["oms"], algorithms: [.es256], clockSkew: .zero,
            keys: .publicKeys(issuer.keys))
        let claims = ["nbf": "1700000010", "iat": "1700000000", "exp": "1700000020"]
        for (offset, error) in [
            (-1, .notYetValid), (9, .notYetValid), (10, nil), (19, nil), (20, .expired),
        ] as [(Int64, TokenError?)] {
            #expect(try refusal(claims, now: TestIssuer.now + offset, verifier: strict) == error)
        }
    }

    @Test(arguments: [
        "[]", "null", "1", #""x""#, "{", #"{"sub":"a","sub":"b"}"#, "{}x", "\u{FEFF}{}",
        #"{"iss":"https://iam","aud":"oms","sub":"\uD800","iat":1,"exp":1700000300}"#,
    ])
    func `R85 claims that are no object are refused although they are signed`(claims: String) throws {
        #expect(issuer.verifier.refusal(of: try issuer.token(claims: claims)) == .claimsMalformed)
    }

    @Test func `R85 no claim of an unsigned token is looked at`() throws {
        for claims in ["[]", "{}", #"{"exp":0}"#] {
            let text = token(header: #"{"alg":"ES256"}"#, claims: claims) { _ in [UInt8](repeating: 1, count: 64) }
            #expect(issuer.verifier.refusal(of: text) == .signatureInvalid)
        }
    }
}
