internal import JOSE
internal import Synchronization

/// Where the keys of one token issuer come from. Readable from every worker without a wait.
protocol KeySource: Sendable {
    /// Changes whenever `current` does, and never comes back to an earlier value.
    ///
    /// A worker keeps what it made of the keys together with this number, and asks for `current` when it has moved.
    /// Verified tokens that are cached belong to the version under which they were verified.
    var version: UInt64 { get }

    /// The keys with their version; `keys` is `nil` as long as none could be had: no token can be judged then.
    var current: VersionedKeys { get }

    /// Says that a token named a key that is not among these. Returns at once; the token is refused now, and newer
    /// keys may come later. `now` is a time of the steady clock.
    func keyWasMissed(at now: Duration)
}

/// Keys, and which of a source's successive sets they are.
struct VersionedKeys: Sendable {
    let version: UInt64
    let keys: VerificationKeys?
}

/// Keys that stay as the configuration has them: a secret, or a JWKS file as it was read.
struct FixedKeySource: KeySource {
    private let keys: VerificationKeys

    init(_ keys: VerificationKeys) { self.keys = keys }

    var version: UInt64 { 1 }
    var current: VersionedKeys { VersionedKeys(version: 1, keys: keys) }

    /// There is nobody to ask.
    func keyWasMissed(at now: Duration) {}
}

/// Public keys that someone in this process replaces: those of the identity service, as they rotate.
final class ReplaceableKeySource: KeySource {
    private let store = VersionedKeyStore()

    var version: UInt64 { store.version }
    var current: VersionedKeys { store.current }

    /// Whoever changes the keys says so; there is nobody to ask.
    func keyWasMissed(at now: Duration) {}

    /// Makes these the keys from now on; the same keys again change nothing.
    func replace(_ keys: JWKSet) { store.replace(keys) }
}

/// A key set behind a lock that is held for a copy of a reference, with its version beside it for a look without lock.
final class VersionedKeyStore: Sendable {
    private let keys = Mutex<(version: UInt64, set: JWKSet?)>((0, nil))
    private let atomicVersion = Atomic<UInt64>(0)

    var version: UInt64 { atomicVersion.load(ordering: .acquiring) }

    var current: VersionedKeys {
        keys.withLock { VersionedKeys(version: $0.version, keys: $0.set.map { .publicKeys($0) }) }
    }

    func replace(_ set: JWKSet) {
        keys.withLock { keys in
            guard keys.set != set else { return }
            keys = (keys.version + 1, set)
            atomicVersion.store(keys.version, ordering: .releasing)
        }
    }
}
