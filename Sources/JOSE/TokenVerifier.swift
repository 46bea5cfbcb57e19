/// What tokens of one issuer are verified with: public keys or a secret, never both.
public enum VerificationKeys: Sendable {
    /// For ES256, RS256 and EdDSA.
    case publicKeys(JWKSet)
    /// For HS256.
    case secret(SymmetricKey)
}

/// Why no verifier can be made of the given rules.
public enum TokenVerifierError: Error, Equatable, CustomStringConvertible {
    /// The issuer is empty.
    case noIssuer
    /// No audience is given, or an empty one.
    case noAudience
    /// No algorithm is given.
    case noAlgorithm
    /// An algorithm that the keys cannot serve: HS256 with public keys, or another one with a secret.
    case algorithmDoesNotFitKeys(SignatureAlgorithm)

    /// What is missing.
    public var description: String {
        switch self {
        case .noIssuer: "the issuer is empty"
        case .noAudience: "there is no audience"
        case .noAlgorithm: "there is no algorithm"
        case .algorithmDoesNotFitKeys(let algorithm): "\(algorithm.rawValue) cannot be verified with these keys"
        }
    }
}

/// Verifies signed tokens (RFC 7515, RFC 7519) of one issuer, as RFC 8725 advises.
///
/// Which algorithm is used follows from the configuration and from the kind of the key; the token's `alg` can only
/// agree with it or be refused.
public struct TokenVerifier: Sendable {
    /// Longest token that is looked at.
    public static let tokenBytesMax = 16 << 10
    /// Longest `sub`.
    public static let subjectBytesMax = 255

    private let issuer: String
    private let audiences: [String]
    private let algorithms: [SignatureAlgorithm]
    private let clockSkewSeconds: Int64
    private let requiresIssuedAt: Bool
    private let keys: VerificationKeys

    /// A verifier for tokens whose `iss` is exactly `issuer` and whose `aud` names one of `audiences`.
    ///
    /// `clockSkew` is allowed on both ends of a token's life, in whole seconds. `iat` may be missing only where
    /// `requiresIssuedAt` is false.
    public init(
        issuer: String, audiences: [String], algorithms: [SignatureAlgorithm], clockSkew: Duration = .seconds(60),
        requiresIssuedAt: Bool = true, keys: VerificationKeys
    ) throws(TokenVerifierError) {
        guard !issuer.isEmpty else { throw .noIssuer }
        guard !audiences.isEmpty, audiences.allSatisfy({ !$0.isEmpty }) else { throw .noAudience }
        guard !algorithms.isEmpty else { throw .noAlgorithm }
        let needsSecret = if case .secret = keys { true } else { false }
        for algorithm in algorithms where algorithm.isSymmetric != needsSecret {
            throw .algorithmDoesNotFitKeys(algorithm)
        }
        precondition(clockSkew >= .zero && clockSkew <= .seconds(86_400), "a clock skew is at most a day")
        self.issuer = issuer
        self.audiences = audiences
        self.algorithms = algorithms
        self.clockSkewSeconds = clockSkew.components.seconds
        self.requiresIssuedAt = requiresIssuedAt
        self.keys = keys
    }

    /// The same rules with newer public keys; for a verifier that has a secret, there are none.
    public func replacingKeys(_ set: JWKSet) throws(TokenVerifierError) -> TokenVerifier {
        try TokenVerifier(
            issuer: issuer, audiences: audiences, algorithms: algorithms, clockSkew: .seconds(clockSkewSeconds),
            requiresIssuedAt: requiresIssuedAt, keys: .publicKeys(set))
    }

    /// Verifies one token; `now` is in seconds since the epoch.
    ///
    /// The signature comes first: no claim of an unsigned token is looked at.
    public func verify(_ token: Span<UInt8>, now: Int64) throws(TokenError) -> VerifiedToken {
        guard token.count <= TokenVerifier.tokenBytesMax else { throw .tooLong }
        let parts = try TokenParts(token)
        let header = try TokenHeader(token.extracting(parts.header))
        guard algorithms.contains(header.algorithm) else { throw .algorithmRefused }
        guard let signature = Base64URL.decode(token.extracting(parts.signature)) else { throw .signatureInvalid }
        try verify(signature, of: token.extracting(parts.signed), header)
        guard let payload = Base64URL.decode(token.extracting(parts.payload)),
            let claims = try? JSONValue(parsing: payload).object
        else { throw .claimsMalformed }
        return try check(claims, header, now: now)
    }

    private func verify(_ signature: [UInt8], of message: Span<UInt8>, _ header: TokenHeader) throws(TokenError) {
        switch keys {
        case .secret(let secret):
            guard header.algorithm == .hs256 else { throw .algorithmRefused }
            guard secret.verifies(signature, of: message) else { throw .signatureInvalid }
        case .publicKeys(let set):
            let candidates = set.candidates(keyID: header.keyID, algorithm: header.algorithm)
            guard !candidates.isEmpty else { throw .keyUnknown }
            for key in candidates where key.verifies(signature, of: message) { return }
            throw .signatureInvalid
        }
    }

    private func check(
        _ claims: JSONObject, _ header: TokenHeader, now: Int64
    ) throws(TokenError) -> VerifiedToken {
        guard let issuer = claims["iss"]?.string, issuer.isSameBytes(as: self.issuer) else { throw .issuerWrong }
        guard isForUs(claims["aud"]) else { throw .audienceWrong }
        guard let subject = claims["sub"]?.string, (1...TokenVerifier.subjectBytesMax).contains(subject.utf8.count)
        else { throw .subjectInvalid }
        guard let expiration = claims["exp"], let expiresAt = NumericDate(expiration)?.floor else {
            throw .expirationInvalid
        }
        guard now < expiresAt + clockSkewSeconds else { throw .expired }
        var usableFrom: Int64 = 0
        var notBefore: Int64?
        if let claim = claims["nbf"] {
            guard let date = NumericDate(claim) else { throw .notBeforeInvalid }
            guard now >= date.ceiling - clockSkewSeconds else { throw .notYetValid }
            notBefore = date.ceiling
            usableFrom = date.ceiling - clockSkewSeconds
        }
        if let claim = claims["iat"] {
            guard let date = NumericDate(claim) else { throw .issuedAtInvalid }
            guard now >= date.ceiling - clockSkewSeconds else { throw .issuedInFuture }
            usableFrom = max(usableFrom, date.ceiling - clockSkewSeconds)
        } else if requiresIssuedAt {
            throw .issuedAtInvalid
        }
        return VerifiedToken(
            issuer: issuer, subject: subject, expiresAt: expiresAt, notBefore: notBefore, usableFrom: usableFrom,
            usableUntil: expiresAt + clockSkewSeconds, claims: claims, keyID: header.keyID,
            algorithm: header.algorithm)
    }

    /// `aud` is a string or an array of strings (RFC 7519 section 4.1.3), and one of them must be ours.
    private func isForUs(_ claim: JSONValue?) -> Bool {
        guard let claim, let named = claim.string.map({ [$0] }) ?? claim.strings else { return false }
        return named.contains { name in audiences.contains { $0.isSameBytes(as: name) } }
    }
}

/// A time in a claim (RFC 7519 section 2): seconds since the epoch, perhaps with a fraction.
///
/// Only numbers from the epoch to the end of the year 9999 are taken, so that no sum with a skew can overflow.
/// Rounding makes a token's life shorter, never longer.
private struct NumericDate {
    let floor: Int64
    let ceiling: Int64

    init?(_ claim: JSONValue) {
        guard let number = claim.number, let floor = number.floor, let ceiling = number.ceiling, floor >= 0,
            ceiling <= NumericDate.latest
        else { return nil }
        self.floor = floor
        self.ceiling = ceiling
    }

    private static let latest: Int64 = 253_402_300_799
}
