import EventLoop
import GatewayConfig
import IdentityModel
import JOSE
import RateLimit

/// A credential that was verified, as a worker remembers it: who it names, and what follows from that alone. Never
/// what the subject may do: that is decided for every request.
final class Credential {
    let kind: CredentialKind
    /// Where the session is stored; `nil` for tokens.
    let sessionKey: SessionKey?
    let claims: SubjectClaims
    /// Seconds since the epoch between which it may be used, clock skew included.
    let usableFrom: Int64
    let usableUntil: Int64
    private let prefix: SourcePrefix
    /// Assertions by audience, each with the second after which it is replaced.
    private var assertions: [String: (line: [UInt8], replacedAt: Int64)] = [:]
    private var blocks: [GatewayConfiguration.Route.HeaderPreset: [UInt8]] = [:]

    init(
        kind: CredentialKind, sessionKey: SessionKey? = nil, claims: SubjectClaims, usableFrom: Int64,
        usableUntil: Int64, prefix: SourcePrefix
    ) {
        self.kind = kind
        self.sessionKey = sessionKey
        self.claims = claims
        self.usableFrom = usableFrom
        self.usableUntil = usableUntil
        self.prefix = prefix
    }

    func isUsable(at now: Int64) -> Bool { now >= usableFrom && now < usableUntil }

    /// The signed assertion for an application, made anew after half its life; `nil` when it cannot be signed.
    func assertion(for audience: String, now: Int64, by signer: AssertionSigner) -> [UInt8]? {
        if let known = assertions[audience], now < known.replacedAt { return known.line }
        guard let line = signer.line(claims, kind: kind, audience: audience, now: now) else { return nil }
        assertions[audience] = (line, now + AssertionSigner.lifetimeSeconds / 2)
        return line
    }

    /// The field lines that name the subject to an application, rendered once; `nil` where the name could be that of
    /// another source's subject.
    func identityBlock(_ preset: GatewayConfiguration.Route.HeaderPreset) -> [UInt8]? {
        if let block = blocks[preset] { return block }
        let block = IdentityHeaders.block(claims, kind: kind, preset: preset, prefix: prefix)
        blocks[preset] = block
        return block
    }
}

/// A session as a worker remembers it.
struct CachedSession {
    let credential: Credential
    /// The revocation table's value read before the fetch began.
    let generation: UInt64
    /// When the store must be asked again: by the steady clock, so that nobody is believed longer when the other is set
    /// back.
    let believedUntil: MonotonicInstant
}
