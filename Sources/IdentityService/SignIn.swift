internal import IdentityModel
internal import Logging
internal import Passwords
internal import Storage

/// What someone types to sign in, as it came.
struct SignInAttempt: Sendable {
    var username: String
    var password: Secret<String>
    var clientAddress: String
    /// The session that the browser had before.
    var presented: SessionKey?
    var requestID: String
}

/// What came of it. Every way to be wrong is one case: the answer must not tell them apart.
enum SignInOutcome: Sendable {
    case signedIn(token: SessionToken, session: Session, user: User)
    case wrong
    case limited(retryAfter: Duration)
    case unavailable
}

/// Signs users in by password: the one path that the page and the API share.
struct SignIn: Sendable {
    let directory: Directory
    let sessions: SessionStore
    let hasher: PasswordHasher
    let throttle: any SignInThrottle
    let revocations: RevocationTable
    let logger: Logger

    func perform(_ attempt: SignInAttempt, now: Int64) async -> SignInOutcome {
        do {
            return try await decide(attempt, now)
        } catch let error as StoreError {
            log(.error, "auth.login.failed", attempt, ["reason": "store", "error": "\(error)"])
        } catch PasswordHasherError.overloaded {
            log(.warning, "auth.login.failed", attempt, ["reason": "overloaded"])
        } catch PasswordHasherError.cancelled {
            log(.info, "auth.login.failed", attempt, ["reason": "cancelled"])
        } catch {
            log(.error, "auth.login.failed", attempt, ["reason": "hasher"])
        }
        return .unavailable
    }

    private func decide(_ attempt: SignInAttempt, _ now: Int64) async throws -> SignInOutcome {
        if case .limited(let wait) = try await throttle.take(.client(attempt.clientAddress)) {
            log(.notice, "auth.login.failed", attempt, ["reason": "throttled_address"])
            return .limited(retryAfter: wait)
        }
        let name = LoginName(attempt.username)
        var record: SignInRecord?
        if let name {
            record = try await directory.signInRecord(named: name)
            let account = record.map { "user:\($0.user.id)" } ?? "name:\(name.canonical)"
            if case .limited(let wait) = try await throttle.take(.account(account)) {
                log(.notice, "auth.login.failed", attempt, ["reason": "throttled_account"], record?.user)
                return .limited(retryAfter: wait)
            }
        }
        guard let password = Password(attempt.password.reveal()) else {
            log(.notice, "auth.login.failed", attempt, ["reason": "password_length"], record?.user)
            return .wrong
        }
        let stored = record?.passwordHash.flatMap { PasswordHash($0.reveal()) }
        let verdict = try await hasher.verify(password, against: stored)  // costs the same when there is no account
        guard let record else {
            log(.notice, "auth.login.failed", attempt, ["reason": "unknown_account"])
            return .wrong
        }
        guard verdict != .wrong else {
            log(.notice, "auth.login.failed", attempt, ["reason": "wrong_password"], record.user)
            return .wrong
        }
        guard record.user.mayStartSession else {
            log(.notice, "auth.login.failed", attempt, ["reason": "may_not_sign_in"], record.user)
            return .wrong
        }
        if verdict == .okNeedsRehash { await rehash(password, record) }
        return try await beginSession(of: record.user, attempt, now)
    }

    private func beginSession(of user: User, _ attempt: SignInAttempt, _ now: Int64) async throws -> SignInOutcome {
        let token = SessionToken.random()
        let beginning = try await sessions.begin(
            token.key, userID: user.id, replacing: attempt.presented, now: now)
        guard let beginning else {
            log(.notice, "auth.login.failed", attempt, ["reason": "may_not_sign_in"], user)
            return .wrong
        }
        for key in beginning.ended { revocations.revoke(key) }
        log(.info, "auth.login.succeeded", attempt, [:], user)
        return .signedIn(token: token, session: beginning.session, user: user)
    }

    /// Stores the password at today's cost. That it does not succeed now is no reason to refuse the sign-in.
    private func rehash(_ password: Password, _ record: SignInRecord) async {
        guard let old = record.passwordHash else { return }
        do {
            let hash = try await hasher.hash(password)
            try await directory.rehash(Secret(hash), replacing: old, of: record.user.id)
        } catch {
            logger.warning("auth.rehash.failed", metadata: ["user_id": "\(record.user.id)"])
        }
    }

    /// The name is logged by the identifier of the account it belongs to, never as it was typed: people type
    /// passwords there.
    private func log(
        _ level: Logger.Level, _ event: Logger.Message, _ attempt: SignInAttempt, _ fields: Logger.Metadata,
        _ user: User? = nil
    ) {
        var fields = fields
        fields["request_id"] = "\(attempt.requestID)"
        fields["address"] = "\(attempt.clientAddress)"
        if let user { fields["user_id"] = "\(user.id)" }
        logger.log(level: level, event, metadata: fields)
    }
}
