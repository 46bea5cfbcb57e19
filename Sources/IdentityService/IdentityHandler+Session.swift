internal import HTTPModel
internal import HTTPTypes
internal import IdentityModel
internal import Logging
internal import Storage

extension IdentityHandler {
    /// What the session cookie of a request stands for.
    enum PresentedSession {
        /// No cookie.
        case none
        /// A cookie that is no token, or two, or one whose session is over: as good as none, and cleared.
        case dead
        case live(Session)
    }

    /// The key of the presented cookie, whether or not a session has it.
    func presentedKey(_ request: Request) -> SessionKey? {
        RequestCookies(request)[settings.cookie.name].flatMap { SessionToken($0) }?.key
    }

    func presentedSession(_ request: Request) async throws(StoreError) -> PresentedSession {
        let isPresented = request.head.headerFields[values: .cookie].contains {
            $0.contains(settings.cookie.name + "=")
        }
        guard isPresented else { return .none }
        guard let key = presentedKey(request), let session = try await sessions.session(for: key, now: now()) else {
            return .dead
        }
        return .live(session)
    }

    /// Ends the presented session for good: in the store, then in every worker's cache. Only then may it be answered.
    func endPresentedSession(_ request: Request) async throws(StoreError) {
        guard let key = presentedKey(request) else { return }
        let userID = try await sessions.end(key)
        revocations.revoke(key)
        guard let userID else { return }
        logger.info("auth.logout", metadata: ["request_id": "\(request.requestID)", "user_id": "\(userID)"])
    }

    func attempt(_ request: Request, username: String, password: Secret<String>) -> SignInAttempt {
        SignInAttempt(
            username: username, password: password, clientAddress: request.remoteAddress,
            presented: presentedKey(request), requestID: request.requestID)
    }

    /// The field value that hands a new session to the browser.
    func cookie(_ token: SessionToken, for session: Session, at time: Int64) -> String {
        settings.cookie.setting(token.text.reveal(), forSeconds: session.expiresAt - time)
    }

    /// Says that the store or the hasher cannot answer now, which says nothing about who is signed in.
    static let unavailableText = "The service is busy; please try again in a moment"
    static let unavailableWait = Duration.seconds(2)

    func isForm(_ request: Request) -> Bool { mediaType(request) == "application/x-www-form-urlencoded" }

    func isJSON(_ request: Request) -> Bool { mediaType(request) == "application/json" }

    private func mediaType(_ request: Request) -> String? {
        let fields = request.head.headerFields[values: .contentType]
        guard fields.count == 1, let type = fields[0].split(separator: ";", omittingEmptySubsequences: false).first
        else { return nil }
        return String(type).lowercased().split(separator: " ").first.map(String.init)
    }
}
