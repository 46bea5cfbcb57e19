internal import IdentityModel

/// One change that waits for the writer.
struct WriteJob: Sendable {
    /// Makes the change inside its savepoint; returns how to answer the caller once it is committed.
    let run: @Sendable (SQLiteConnection) throws(StoreError) -> @Sendable () -> Void
    /// Answers the caller that nothing was changed.
    let fail: @Sendable (StoreError) -> Void
}

/// Commits all changes that wait, in one transaction: one flush to disk for all of them.
///
/// A change that fails takes back its own part only. A caller hears of success after COMMIT has returned.
struct WriteGroup {
    let connection: SQLiteConnection

    func commit(_ jobs: ArraySlice<WriteJob>) {
        var rest = jobs
        while !rest.isEmpty {
            do throws(StoreError) {
                try connection.script("BEGIN IMMEDIATE")
            } catch {
                for job in rest { job.fail(error) }
                return
            }
            rest = runTransaction(rest)
        }
    }

    /// Runs jobs until the transaction is committed or lost; returns those that were not begun.
    private func runTransaction(_ jobs: ArraySlice<WriteJob>) -> ArraySlice<WriteJob> {
        var answers: [(job: WriteJob, answer: @Sendable () -> Void)] = []
        var rest = jobs
        while let job = rest.popFirst() {
            do throws(StoreError) {
                answers.append((job, try runInSavepoint(job)))
            } catch {
                job.fail(error)
                if !connection.isInTransaction {
                    // SQLite has rolled everything back, as it does when the disk is full.
                    for done in answers { done.job.fail(error) }
                    return rest
                }
            }
        }
        do throws(StoreError) {
            try connection.script("COMMIT")
            for done in answers { done.answer() }
        } catch {
            if connection.isInTransaction { try? connection.script("ROLLBACK") }
            for done in answers { done.job.fail(error) }
        }
        return rest
    }

    private func runInSavepoint(_ job: WriteJob) throws(StoreError) -> @Sendable () -> Void {
        try connection.script("SAVEPOINT job")
        do throws(StoreError) {
            let answer = try job.run(connection)
            try connection.script("RELEASE job")
            return answer
        } catch {
            if connection.isInTransaction {
                do throws(StoreError) {
                    try connection.script("ROLLBACK TO job")
                    try connection.script("RELEASE job")
                } catch {
                    // Half a change must not be committed with the others: give up the whole transaction.
                    try? connection.script("ROLLBACK")
                }
            }
            throw error
        }
    }
}
