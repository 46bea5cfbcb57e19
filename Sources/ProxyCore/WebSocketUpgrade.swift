internal import HTTPModel

/// The one protocol that connections are upgraded to (RFC 6455 section 4).
enum WebSocketUpgrade {
    /// Whether an `Upgrade` value, which counts only where `Connection` names it, is `websocket` and nothing else.
    static func isNamed(by upgrade: ByteRange?, in bytes: Span<UInt8>) -> Bool {
        let name: StaticString = "websocket"
        guard let upgrade, Int(upgrade.count) == name.utf8CodeUnitCount else { return false }
        for offset in 0..<name.utf8CodeUnitCount {
            // Within the literal.
            let wanted = unsafe name.utf8Start[offset]
            guard bytes[Int(upgrade.start) + offset] | 0x20 == wanted else { return false }
        }
        return true
    }
}
