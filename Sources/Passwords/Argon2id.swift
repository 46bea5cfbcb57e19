internal import CArgon2

/// Argon2id (RFC 9106) by libargon2. Both functions take as long as their cost says: call them off the workers.
enum Argon2id {
    /// The PHC string of the password under a fresh salt.
    static func hash(_ password: Password, _ parameters: Argon2Parameters, salt: [UInt8])
        throws(PasswordHasherError) -> String
    {
        let capacity = argon2_encodedlen(
            parameters.passes, parameters.memoryKiB, parameters.lanes, UInt32(salt.count),
            UInt32(Argon2idString.hashBytes), Argon2_id)
        var encoded = [CChar](repeating: 0, count: capacity)
        // The arrays live through the call; their lengths go along, so that a NUL in the password is a byte like any.
        let code = unsafe argon2id_hash_encoded(
            parameters.passes, parameters.memoryKiB, parameters.lanes, password.bytes, password.bytes.count,
            salt, salt.count, Argon2idString.hashBytes, &encoded, capacity)
        guard code == ARGON2_OK.rawValue else { throw .failed(code: code) }
        return String(decoding: encoded.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Whether the password is the hashed one, compared by the library in constant time.
    static func verify(_ password: Password, against stored: Argon2idString) throws(PasswordHasherError) -> Bool {
        // Swift makes a NUL-terminated copy of the string for the call; its grammar has no NUL.
        let code = unsafe argon2id_verify(stored.text, password.bytes, password.bytes.count)
        switch code {
        case ARGON2_OK.rawValue: return true
        case ARGON2_VERIFY_MISMATCH.rawValue: return false
        default: throw .failed(code: code)
        }
    }

    static func randomSalt() -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<Argon2idString.saltBytes).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }
}
