import HTTPModel

extension CompiledRoute {
    /// Whether the route lists every dangerous byte that stands encoded in a normalised path: `%2F`, `%5C`, `%00` and
    /// encoded controls.
    func allowsEncodedBytes(of target: borrowing ByteBuffer) -> Bool {
        target.withBytes { bytes in
            for index in bytes.indices {
                if bytes[index] == UInt8(ascii: "?") { break }
                guard let byte = decodedEscape(bytes, at: index, before: bytes.count) else { continue }
                let isDangerous = byte == 0x2F || byte == 0x5C || byte < 0x20 || byte == 0x7F
                if isDangerous, !allowEncoded.contains(byte) { return false }
            }
            return true
        }
    }
}
