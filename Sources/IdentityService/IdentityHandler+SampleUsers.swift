public import IdentityModel
internal import Logging
internal import Passwords
internal import Storage

extension IdentityHandler {
    /// Creates the accounts of the sample configuration, whose passwords everyone can read here. For development
    /// alone: whoever starts without that flag asks `Directory.sampleUserCount()` first, and refuses to go on.
    public func seedSampleUsers() async throws {
        for sample in SampleUser.all {
            guard let username = LoginName(sample.username), let email = LoginName(sample.email),
                let role = Role(sample.role), let password = Password(sample.password)
            else { preconditionFailure("a sample user is not in our own grammar") }
            if try await directory.signInRecord(named: email) != nil { continue }
            let hash = Secret(try await hasher.hash(password))
            let new = NewUser(
                username: username, email: email, displayName: sample.displayName, passwordHash: hash, roles: [role],
                isSample: true)
            guard let new else { preconditionFailure("a sample user is not in our own grammar") }
            if case .failure(let conflict) = try await directory.create(new, now: now()) {
                logger.warning(
                    "sample_user.skipped", metadata: ["user": "\(sample.username)", "reason": "\(conflict)"])
            }
        }
    }

    /// Whether the database holds accounts with published passwords.
    public func sampleUsersExist() async throws(StoreError) -> Bool { try await directory.sampleUserCount() > 0 }
}

/// One account of the sample configuration.
struct SampleUser {
    let username: String
    let password: String
    let displayName: String
    let role: String
    var email: String { username + "@example.com" }

    static let all = [
        SampleUser(username: "admin", password: "Admin@123", displayName: "Sample Admin", role: "admin"),
        SampleUser(username: "legal", password: "Legal@123", displayName: "Sample Legal", role: "legal"),
        SampleUser(username: "pm", password: "PM@123", displayName: "Sample PM", role: "pm"),
        SampleUser(username: "sales", password: "Sales@123", displayName: "Sample Sales", role: "sales"),
        SampleUser(username: "user", password: "User@123", displayName: "Sample User", role: "user"),
    ]
}
