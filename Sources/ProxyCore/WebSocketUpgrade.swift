internal import COpenSSL
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

    /// A fresh `Sec-WebSocket-Key`: 16 random bytes in base64 (RFC 6455 section 4.1).
    static func makeKey() -> [UInt8] {
        var nonce = [UInt8](repeating: 0, count: 16)
        let code = unsafe nonce.withUnsafeMutableBufferPointer { region in
            // As long as its count says.
            unsafe RAND_bytes(region.baseAddress, CInt(region.count))
        }
        precondition(code == 1, "the random generator failed")
        return base64(nonce)
    }

    /// Whether an answer proves that its sender read the handshake with this key: one `Sec-WebSocket-Accept`, with the
    /// key's digest (RFC 6455 section 4.2.2).
    static func accepts(_ key: [UInt8], _ head: borrowing ResponseHead, _ bytes: Span<UInt8>) -> Bool {
        let wanted = accept(key)
        var found = 0
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            guard isEqual(bytes.extracting(field.name.range), "sec-websocket-accept") else { continue }
            found += 1
            let value = bytes.extracting(field.value.range)
            guard value.count == wanted.count else { return false }
            for offset in 0..<wanted.count where value[offset] != wanted[offset] { return false }
        }
        return found == 1
    }

    /// What answers a `Sec-WebSocket-Key`.
    static func accept(_ key: [UInt8]) -> [UInt8] {
        let text = key + Array("258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8)
        var digest = [UInt8](repeating: 0, count: 20)
        // SHA-1 writes 20 bytes.
        _ = unsafe SHA1(text, text.count, &digest)
        return base64(digest)
    }

    private static func base64(_ bytes: [UInt8]) -> [UInt8] {
        // Four bytes for each three begun, and the NUL that the function adds.
        var text = [UInt8](repeating: 0, count: (bytes.count + 2) / 3 * 4 + 1)
        let count = unsafe EVP_EncodeBlock(&text, bytes, CInt(bytes.count))
        return Array(text.prefix(Int(count)))
    }

    private static func isEqual(_ name: Span<UInt8>, _ lowerCase: StaticString) -> Bool {
        guard name.count == lowerCase.utf8CodeUnitCount else { return false }
        for offset in 0..<name.count {
            let byte = name[offset]
            let folded = byte &- 0x41 < 26 ? byte | 0x20 : byte
            // Within the literal.
            guard unsafe folded == lowerCase.utf8Start[offset] else { return false }
        }
        return true
    }
}
