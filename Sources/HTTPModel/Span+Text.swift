extension String {
    /// The bytes as UTF-8; what is none becomes U+FFFD.
    public init(decoding bytes: Span<UInt8>) {
        // They are copied before the call returns.
        self = unsafe bytes.withUnsafeBufferPointer { bytes in unsafe String(decoding: bytes, as: UTF8.self) }
    }
}
