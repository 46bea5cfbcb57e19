internal import IdentityModel
internal import JOSE

/// A browser that has one of our forms open, known by a cookie of its own. It says nothing about who uses it.
struct FlowID: Sendable, Equatable {
    let text: String

    static func random() -> FlowID { FlowID(checked: Base64URL.encode(randomBytes(bytesCount))) }

    init?(_ text: String) {
        guard Base64URL.decode(text)?.count == FlowID.bytesCount else { return nil }
        self.text = text
    }

    private init(checked text: String) { self.text = text }
    private static let bytesCount = 16
}

/// Which form a token is for; one form's token is no good for another.
enum FormPurpose: String, Sendable { case signIn = "sign-in", signOut = "sign-out" }

/// Makes and checks the hidden field that shows a form to be ours: time, browser, and a MAC over both.
///
/// The key is kept in the store, so that an open form outlives a restart, and other nodes know it.
struct FormTokens: Sendable {
    let key: Secret<[UInt8]>

    func token(for flow: FlowID, _ purpose: FormPurpose, now: Int64) -> String {
        let time = bytes(of: now)
        return Base64URL.encode(time + Array(flow.text.utf8) + mac(flow, purpose, time).bytes)
    }

    /// The browser that an authentic token of at most an hour was made for.
    func flow(of token: String, _ purpose: FormPurpose, now: Int64) -> FlowID? {
        guard token.utf8.count <= FormTokens.textMax, let parts = Base64URL.decode(token),
            parts.count == 8 + FormTokens.flowBytes + 32,
            let flow = FlowID(String(decoding: parts[8..<8 + FormTokens.flowBytes], as: UTF8.self))
        else { return nil }
        let issuedAt = Int64(bitPattern: parts.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
        let expected = mac(flow, purpose, Array(parts.prefix(8)))
        guard isEqualInConstantTime(Array(parts.suffix(32)), expected.bytes) else { return nil }
        guard issuedAt <= now, now - issuedAt < FormTokens.lifetimeSeconds else { return nil }
        return flow
    }

    static let lifetimeSeconds: Int64 = 3600
    private static let flowBytes = 22
    private static let textMax = 128

    /// Each part goes in behind its length, so that no two different sets of parts look alike.
    private func mac(_ flow: FlowID, _ purpose: FormPurpose, _ time: [UInt8]) -> SHA256Digest {
        let parts = [Array(purpose.rawValue.utf8), Array(flow.text.utf8), time]
        return HMAC.sha256(key: key.reveal(), parts.flatMap { [UInt8($0.count)] + $0 })
    }

    private func bytes(of time: Int64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: time >> (56 - 8 * $0)) }
    }
}
