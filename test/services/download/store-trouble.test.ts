import t from 'tap'
import { CodedError } from '../../../services/errors.ts'
import { StoreTrouble } from '../../../services/download/store-trouble.ts'

t.test('a store that fails is tried again, later each time, and is the reason after three times', async (t) => {
  const trouble = new StoreTrouble()
  const error = new CodedError('STORE_FAILED', 'no space')
  t.equal(trouble.failed(error, 0), true)
  t.equal(trouble.failed(error, 500), false, 'side by side it counts once')
  t.equal(trouble.retryAt, 1000)
  trouble.failed(error, 1000)
  t.equal(trouble.retryAt, 3000)
  t.equal(trouble.failure, null)
  trouble.failed(error, 3000)
  t.equal(trouble.failure, error)
  trouble.clear()
  t.equal(trouble.failure, null)
  t.equal(trouble.retryAt, -Infinity)
})
