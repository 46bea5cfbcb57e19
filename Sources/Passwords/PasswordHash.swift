/// A stored password hash, told apart by its prefix.
public enum PasswordHash: Sendable, Equatable {
    case argon2id(Argon2idString)

    /// `nil` when no format that can be verified here begins like this; such an account cannot sign in by password.
    public init?(_ text: String) {
        guard let hash = Argon2idString(text) else { return nil }
        self = .argon2id(hash)
    }
}

/// What came of comparing a password with a stored hash.
public enum PasswordVerdict: Sendable, Equatable {
    case ok
    /// Right, but stored in a format or at a cost that is no longer what new hashes get.
    case okNeedsRehash
    case wrong
}

/// Hashing did not happen. Never to be read as "wrong password".
public enum PasswordHasherError: Error, Sendable, Equatable {
    /// The queue was full, or the job's turn came after its deadline; worth another try soon.
    case overloaded
    /// The caller's task was cancelled.
    case cancelled
    /// The library refused, for instance for want of memory; `code` is its own.
    case failed(code: CInt)
    /// The operating system gave no thread.
    case noThread
}
