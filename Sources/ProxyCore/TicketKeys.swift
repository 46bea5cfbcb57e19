internal import COpenSSL

/// The key of session tickets: a name, a key for HMAC-SHA-256 and one for AES-256.
public struct TicketKey: Sendable, Equatable {
    /// Name, HMAC key and AES key together.
    public static let byteCount = 80

    /// 16 bytes of name, 32 of each key.
    let bytes: [UInt8]

    /// - Returns: `nil` for another number of bytes.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == TicketKey.byteCount else { return nil }
        self.bytes = bytes
    }

    /// A fresh one.
    public static func random() -> TicketKey {
        var bytes = [UInt8](repeating: 0, count: byteCount)
        // As many bytes as there are.
        let code = unsafe RAND_bytes(&bytes, CInt(bytes.count))
        guard code == 1, let key = TicketKey(bytes) else { preconditionFailure("the random generator failed") }
        return key
    }

    /// The part that tickets show.
    public var name: ArraySlice<UInt8> { bytes[..<16] }
}

/// The keys in use at one time: the first encrypts tickets, all decrypt them. Immutable; a worker is given another set
/// when keys change.
@safe public final class TicketKeys: Sendable {
    private let keys: [TicketKey]

    /// At least one.
    public init(_ keys: [TicketKey]) {
        precondition(!keys.isEmpty)
        self.keys = keys
    }

    /// Fresh random keys.
    public convenience init() { self.init([.random()]) }

    /// Prepares both contexts to make a ticket; fills in the name and the vector.
    func beginTicket(
        _ name: UnsafeMutablePointer<UInt8>, _ vector: UnsafeMutablePointer<UInt8>, _ cipher: OpaquePointer,
        _ mac: OpaquePointer
    ) -> Bool {
        // OpenSSL gives room for 16 bytes each (EVP_MAX_IV_LENGTH).
        guard unsafe RAND_bytes(vector, 16) == 1 else { return false }
        return unsafe keys[0].bytes.withUnsafeBufferPointer { key in
            guard let base = key.baseAddress else { return false }
            for index in 0..<16 { unsafe name[index] = key[index] }
            // Both copy the keys, which lie within the 80 bytes.
            return unsafe EVP_EncryptInit_ex(cipher, TicketKeys.cipher, nil, base + 48, vector) == 1
                && TicketKeys.setMAC(mac, base + 16)
        }
    }

    /// Prepares both contexts to read a ticket; the place of its key, `nil` where none has its name.
    func beginReading(
        _ name: UnsafeMutablePointer<UInt8>, _ vector: UnsafeMutablePointer<UInt8>, _ cipher: OpaquePointer,
        _ mac: OpaquePointer
    ) -> Int? {
        for (place, key) in keys.enumerated() {
            let isReady = unsafe key.bytes.withUnsafeBufferPointer { key in
                guard let base = key.baseAddress else { return false }
                // The name is no secret: time may tell which key it was.
                for index in 0..<16 where unsafe name[index] != key[index] { return false }
                return unsafe EVP_DecryptInit_ex(cipher, TicketKeys.cipher, nil, base + 48, vector) == 1
                    && TicketKeys.setMAC(mac, base + 16)
            }
            if isReady { return place }
        }
        return nil
    }

    /// Looked up once, and never freed: the look-up for each ticket would cost more than its encryption.
    nonisolated(unsafe) private static let cipher = unsafe EVP_CIPHER_fetch(nil, "AES-256-CBC", nil)

    private static func setMAC(_ mac: OpaquePointer, _ key: UnsafePointer<UInt8>) -> Bool {
        unsafe copenssl_set_ticket_mac(mac, UnsafeMutablePointer(mutating: key), 32) == 1
    }
}
