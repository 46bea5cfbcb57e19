import GatewayConfig
import HTTPModel
import IdentityModel
import JOSE
import Policy

/// What is configured for one issuer of tokens; the same for all workers.
struct TokenAuthenticator: Sendable {
    let issuer: GatewayConfiguration.TokenIssuer
    /// With the keys known when the configuration was loaded.
    let verifier: TokenVerifier
    /// Where newer keys come from; `nil` for keys that do not change while this configuration holds.
    let remoteKeys: RemoteKeySet?
    let prefix: SourcePrefix
    let roleScopes: [Role: Set<Scope>]

    /// What a verified token says of its subject.
    func claims(of token: VerifiedToken) -> SubjectClaims? {
        let claims = token.claims
        guard let username = issuer.usernameClaim == "sub" ? token.subject : claims[issuer.usernameClaim]?.string,
            !username.isEmpty
        else { return nil }
        let scopes = Self.scopes(claims)
        let given = SubjectClaims(
            subject: Subject(issuer: token.issuer, identifier: token.subject), username: username,
            displayName: claims["name"]?.string, email: claims["email"]?.string,
            roles: Set(Self.strings(claims[issuer.rolesClaim]).compactMap(Role.init)),
            scopes: scopes ?? [], groups: Self.strings(claims[issuer.groupsClaim]),
            tenant: claims["tenant_id"]?.string)
        // A token that names scopes is narrowed to them: its roles grant no more.
        return given.completed(grants: scopes == nil ? roleScopes : [:])
    }

    /// `scope` is a space-separated string (RFC 9068 section 2.2.3); some issuers write an array, or call it `scopes`.
    /// `nil` where the token has no such claim at all.
    private static func scopes(_ claims: JSONObject) -> Set<Scope>? {
        var names: [String]?
        for claim in ["scope", "scopes", "scp"] {
            guard let value = claims[claim] else { continue }
            names = (names ?? []) + (value.string?.split(separator: " ").map(String.init) ?? strings(value))
        }
        return names.map { Set($0.compactMap(Scope.init)) }
    }

    private static func strings(_ value: JSONValue?) -> [String] { value?.array?.compactMap(\.string) ?? [] }
}

/// One worker's verifiers, with the newest keys, and the tokens it has verified.
///
/// What is remembered is the authentication: digest of the whole token → subject, claims and times, under the verifier
/// and the version of its keys. Signatures are checked again when keys change.
final class TokenCache {
    private struct Verifier {
        let authenticator: TokenAuthenticator
        var verifier: TokenVerifier
        var keysVersion: UInt64
    }

    private struct Entry {
        let credential: Credential
        let verifier: Int
        let keysVersion: UInt64
    }

    /// Look-ups that found a usable entry, and those that did not.
    private(set) var hits: UInt64 = 0
    private(set) var misses: UInt64 = 0
    private var verifiers: [Verifier]
    private var entries: BoundedCache<SHA256Digest, Entry>

    init(_ authenticators: [TokenAuthenticator], entriesMax: Int) {
        verifiers = authenticators.map { Verifier(authenticator: $0, verifier: $0.verifier, keysVersion: 0) }
        entries = BoundedCache(entriesMax: entriesMax)
    }

    /// Judges a bearer token; `now` is in seconds since the epoch.
    func credential(for token: Span<UInt8>, now: Int64) -> Result<Credential, CredentialRefusal> {
        guard token.count <= TokenVerifier.tokenBytesMax else { return .failure(CredentialRefusal(.malformed, nil)) }
        let digest = SHA256.digest(of: token)
        if let entry = entries.value(for: digest), entry.keysVersion == refreshedVersion(entry.verifier) {
            hits &+= 1
            if entry.credential.isUsable(at: now) { return .success(entry.credential) }
            let fault: CredentialFault = now < entry.credential.usableFrom ? .notYetValid : .expired
            return .failure(CredentialRefusal(fault, nil))
        }
        misses &+= 1
        return verify(token, digest, now)
    }

    private func verify(
        _ token: Span<UInt8>, _ digest: SHA256Digest, _ now: Int64
    ) -> Result<Credential, CredentialRefusal> {
        guard let issuer = TokenCache.claimedIssuer(token) else {
            return .failure(CredentialRefusal(.malformed, nil))
        }
        guard let index = verifiers.firstIndex(where: { $0.authenticator.issuer.issuer == issuer }) else {
            return .failure(CredentialRefusal(.unknownIssuer, nil))
        }
        let version = refreshedVersion(index)
        if let remote = verifiers[index].authenticator.remoteKeys, remote.current.keys == nil {
            return .failure(.keysAway)
        }
        do throws(TokenError) {
            let verified = try verifiers[index].verifier.verify(token, now: now)
            let authenticator = verifiers[index].authenticator
            guard let claims = authenticator.claims(of: verified) else {
                return .failure(CredentialRefusal(.malformed, .claimsMalformed))
            }
            let credential = Credential(
                kind: .jwt, claims: claims, usableFrom: verified.usableFrom, usableUntil: verified.usableUntil,
                prefix: authenticator.prefix)
            entries.insert(Entry(credential: credential, verifier: index, keysVersion: version), for: digest)
            return .success(credential)
        } catch {
            if error == .keyUnknown { verifiers[index].authenticator.remoteKeys?.keyWasMissed(at: .monotonic) }
            return .failure(CredentialRefusal(CredentialFault(error), error))
        }
    }

    /// Takes over newer keys if there are some; the version of those in use.
    private func refreshedVersion(_ index: Int) -> UInt64 {
        guard let remote = verifiers[index].authenticator.remoteKeys else { return 0 }
        let version = remote.version
        guard version != verifiers[index].keysVersion else { return version }
        if case .publicKeys(let set)? = remote.current.keys,
            let verifier = try? verifiers[index].authenticator.verifier.replacingKeys(set)
        {
            verifiers[index].verifier = verifier
        }
        verifiers[index].keysVersion = version
        return version
    }

    /// The issuer that an unverified token names: only to choose whose keys to try, which then check it again.
    private static func claimedIssuer(_ token: Span<UInt8>) -> String? {
        var dots: [Int] = []
        for index in token.indices where token[index] == UInt8(ascii: ".") {
            dots.append(index)
            if dots.count > 2 { return nil }
        }
        guard dots.count == 2,
            let payload = Base64URL.decode(token.extracting(dots[0] + 1..<dots[1])),
            let claims = try? JSONValue(parsing: payload).object
        else { return nil }
        return claims["iss"]?.string
    }
}

/// An explicit credential that is not believed: what it counts as, and the exact reason for the log.
struct CredentialRefusal: Error {
    let fault: CredentialFault
    let tokenError: TokenError?
    /// Nobody can judge it: the issuer's keys could never be had. Answered as a store that is away.
    var isUndecided = false

    static let keysAway = CredentialRefusal(undecided: .unknownKey)

    private init(undecided fault: CredentialFault) {
        self.init(fault, nil)
        isUndecided = true
    }

    init(_ fault: CredentialFault, _ tokenError: TokenError?) {
        self.fault = fault
        self.tokenError = tokenError
    }
}

extension CredentialFault {
    init(_ error: TokenError) {
        switch error {
        case .keyUnknown: self = .unknownKey
        case .signatureInvalid, .algorithmRefused: self = .forged
        case .issuerWrong: self = .unknownIssuer
        case .audienceWrong: self = .wrongAudience
        case .expired: self = .expired
        case .notYetValid, .issuedInFuture: self = .notYetValid
        case .tooLong, .notThreeParts, .headerMalformed, .headerParameterRefused, .typeRefused, .claimsMalformed,
            .subjectInvalid, .expirationInvalid, .notBeforeInvalid, .issuedAtInvalid:
            self = .malformed
        }
    }
}
