/// No input verifies as a token but those signed with the keys below, and what the input says once it is signed is
/// believed only as far as RFC 7519 lets it; what is read as JSON, keys or base64url is written and read again the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJWT(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = fuzzInput(start, count)
    checkForged(input)
    checkMutated(by: input)
    checkSigned(header: Array(#"{"alg":"HS256"}"#.utf8), payload: input)
    checkSigned(header: input, payload: Array(claims.utf8))
    checkBase64URL(input)
    checkJSON(input)
    checkKeySet(input)
    return 0
}

/// The private halves are gone, so that nobody can have signed another token.
private func checkForged(_ input: [UInt8]) {
    if isBelieved(input, by: publicKeyVerifier) {
        check(tokens.contains { Array($0.utf8) == input }, "only a signed token verifies")
    }
    check(!isBelieved(input, by: secretVerifier), "a token without the secret does not verify")
}

/// Changes one byte of a signed token: the first two bytes of the input say of which and where, the third says how.
private func checkMutated(by input: [UInt8]) {
    guard input.count >= 3, input[2] != 0 else { return }
    let (token, verifier) = signedTokens[Int(input[0] >> 6)]
    var changed = token
    changed[(Int(input[0] & 0x3F) << 8 | Int(input[1])) % token.count] ^= input[2]
    check(!isBelieved(changed, by: verifier), "a changed token does not verify")
}

private func checkSigned(header: [UInt8], payload: [UInt8]) {
    let token = signed(header: header, payload: payload)
    guard let verified = try? secretVerifier.verify(token.span, now: now) else { return }
    guard let header = try? JSONValue(parsing: header), let claims = try? JSONValue(parsing: payload) else {
        fatalError("broken: what is verified is JSON")
    }
    check(header["alg"]?.string == "HS256", "the algorithm is the permitted one")
    for name in ["crit", "jku", "jwk", "x5u", "x5c", "b64", "enc", "zip"] {
        check(header[name] == nil, "a header chooses no key and no extension")
    }
    check(claims["iss"]?.string == issuer, "the issuer is ours")
    check(([claims["aud"]?.string] + (claims["aud"]?.strings ?? [])).contains(audience), "the audience is ours")
    check(claims["sub"]?.string == verified.subject && !verified.subject.isEmpty, "the subject is the one named")
    check(seconds(claims["exp"]).map { Double(now) < $0 + skew } ?? false, "the token has not expired")
    check(seconds(claims["iat"]).map { Double(now) >= $0 - skew } ?? false, "the token was issued")
    check(claims["nbf"] == nil || seconds(claims["nbf"]).map { Double(now) >= $0 - skew } ?? false, "its time has come")
    // What a cache may conclude from one verification is what another one would say.
    check(verified.isUsable(at: now), "a token that verifies is usable")
    for instant in [verified.usableFrom - 1, verified.usableFrom, verified.usableUntil - 1, verified.usableUntil]
    where instant >= 0 {
        let isBelieved = isBelieved(token, by: secretVerifier, now: instant)
        check(isBelieved == verified.isUsable(at: instant), "usable means that it would verify")
    }
}

private func checkBase64URL(_ input: [UInt8]) {
    check(Base64URL.decode(Base64URL.encode(input)) == input, "what is encoded decodes")
    if let bytes = Base64URL.decode(input.span) {
        check(Array(Base64URL.encode(bytes).utf8) == input, "bytes have one text")
    }
}

private func checkJSON(_ input: [UInt8]) {
    guard let value = try? JSONValue(parsing: input) else { return }
    let text = value.encoded()
    check((try? JSONValue(parsing: text)) == value, "what is written reads the same")
    check(!text.contains { $0 < 0x20 || $0 == 0x7F || $0 == UInt8(ascii: "<") }, "what is written is safe in a page")
    check(depth(of: value) <= JSONValue.depthMax, "nesting is bounded")
    checkNumbers(in: value)
}

private func checkNumbers(in value: JSONValue) {
    switch value {
    case .array(let elements): for element in elements { checkNumbers(in: element) }
    case .object(let object): for member in object.members { checkNumbers(in: member.value) }
    case .number(let number):
        if let floor = number.floor, let ceiling = number.ceiling {
            check(ceiling - floor == (number.int64 == nil ? 1 : 0), "a fraction lies between two integers")
        }
        // Exact as far as Double can tell them apart.
        if let floor = number.floor, let double = number.double, abs(double) < 1e15 {
            check(abs(Double(floor) - double) <= 1, "the floor is close")
        }
    case .null, .bool, .string: break
    }
}

private func checkKeySet(_ input: [UInt8]) {
    guard let set = try? JWKSet(parsing: input) else { return }
    guard let again = try? JWKSet(parsing: set.encoded()) else { fatalError("broken: a set that is written reads") }
    check(again.keys == set.keys, "keys that are written read the same")
    check(again.unsupportedCount == 0 && again.malformedCount == 0, "only usable keys are written")
}

private func isBelieved(_ token: [UInt8], by verifier: TokenVerifier, now: Int64 = now) -> Bool {
    (try? verifier.verify(token.span, now: now)) != nil
}

private func signed(header: [UInt8], payload: [UInt8]) -> [UInt8] {
    let message = Array("\(Base64URL.encode(header)).\(Base64URL.encode(payload))".utf8)
    return message + Array(".\(Base64URL.encode(secret.authenticationCode(of: message.span).bytes))".utf8)
}

private func seconds(_ claim: JSONValue?) -> Double? { claim?.number?.double }

private func depth(of value: JSONValue) -> Int {
    switch value {
    case .array(let elements): 1 + (elements.map(depth).max() ?? 0)
    case .object(let object): 1 + (object.members.map { depth(of: $0.value) }.max() ?? 0)
    case .null, .bool, .number, .string: 0
    }
}

private func need<Value>(_ make: () throws -> Value) -> Value {
    do { return try make() } catch { fatalError("the fixed keys and rules are not taken: \(error)") }
}

/// Seconds since the epoch, within the life of the tokens below.
private let now: Int64 = 1_800_000_060
private let skew = 60.0
private let issuer = "https://issuer.example"
private let audience = "payroll"
private let claims = #"{"iss":"https://issuer.example","aud":"payroll","sub":"ada","iat":1800000000,"exp":1800000600}"#

private let secret = need { try SymmetricKey(Array("Zx8kQ2vLr0TnWb5yHs1uJd7mCe4gPf9a".utf8)) }
private let secretVerifier = need {
    try TokenVerifier(issuer: issuer, audiences: [audience], algorithms: [.hs256], keys: .secret(secret))
}
private let publicKeyVerifier = need {
    let set = try JWKSet(parsing: Array(keySet.utf8))
    return try TokenVerifier(
        issuer: issuer, audiences: [audience], algorithms: [.es256, .rs256, .edDSA], keys: .publicKeys(set))
}

/// Four, one for each algorithm.
private let signedTokens: [([UInt8], TokenVerifier)] = {
    let withSecret = signed(header: Array(#"{"alg":"HS256"}"#.utf8), payload: Array(claims.utf8))
    let all = tokens.map { (Array($0.utf8), publicKeyVerifier) } + [(withSecret, secretVerifier)]
    for (token, verifier) in all { check(isBelieved(token, by: verifier), "a signed token verifies") }
    return all
}()

private let keySet = """
    {"keys":[{"kty":"EC","crv":"P-256","kid":"ec","x":"VwWfH_fN9ykgfOhKmZceOOOVtSobS4f84vPvLUc7DiE","y":"zGSARXD\
    5WY9ix_mXrzgNz9q1X8oypZy__ai_V3wAdYM"},{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"vxcVruRlEMz67d2SEHELKr-9\
    bLX3pX0KUJT905rAzuI"},{"kty":"RSA","kid":"rsa","n":"ts6gsSeKbqYGETIDoMw3ucsdyEOnilKPdKOGEFDdjlayyg-evlPAa2za\
    6t4XpNz30-TGe4Oo-1Q_3ZHHE1ty74j1pxJ8bTN6ordxTVlggYLQb6t67VWWZNxk8_mK3gAEtbw1hiDiCGG9-xag3PlUcI-D0Wyh752MX452\
    p6wTXAlhpyQna3sxGTa4NRicRl04tZGjt_eW2YRBrWwz5EpNwSpnlL74CNO9bJIiUhwGgBNjxUjT4VAWCcs5wQo0UA1rjZrIuW4gJkPtc-al\
    Esful3dHylMuHK3TUUuvvS8tpJ3csrhKTsUcaN-oF2cachkPxZmSsdv7N4O1MyQyadX2AQ","e":"AQAB"}]}
    """

/// `claims`, signed once with ES256, EdDSA and RS256; the seeds are the same.
private let tokens = [
    """
    eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoicGF5cm9sbCIsInN1YiI6\
    ImFkYSIsImlhdCI6MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAwNjAwfQ.xTA7g_BMVNk8KPbBlQVQMdUcI7dLkw2Lw_DrSbgJh5GNBWECgU-hW\
    WaBH852f97kTDdy5VY9t6rgn5PBfk1ing
    """,
    """
    eyJhbGciOiJFZERTQSIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoicGF5cm9sbCIsInN1YiI6\
    ImFkYSIsImlhdCI6MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAwNjAwfQ.ToQjMRH4qNgUm4keESYsJRrKV1EImE3zArYOt85svSiFviPDcbAmU\
    S2sxQHUmslriD6ymACgV-nhCkGXYlafBw
    """,
    """
    eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoicGF5cm9sbCIsInN1YiI\
    6ImFkYSIsImlhdCI6MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAwNjAwfQ.aNx6HwJPCQkfkJ0NkJA9wpH8zy0SeGQyYla-3HobNq29EIKH_os5\
    ZYMlU5vJrYe86QS4YSQwBAQCFTVmgUfxx52hHzGk79Cfrl8J6HwVMYiwS5tJVhFbmLIv7cuThMMvoVI5vsMpyqR2BiPGUcD4aAxiwOQBBa1m\
    m4IctrED_-Mqr-eDeoDDIi86cHA31fEn1yVCHeFzRjQA23iMqhlzbM9P7Ki8mZDs_9kI672hZYyXGIgrl6kgeRqpsm8thJKRJ3ZZY652-zcD\
    v_4u8h09CuYLPVygcWOUt_Jaqa5rV5Lf_rSZV-8UU5-TEpV_WpqtjmQqIB7daYJHohtVzADCDA
    """,
]
