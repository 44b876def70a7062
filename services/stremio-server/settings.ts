import { join } from 'node:path'
import { stateFolder } from '../cache/stored-files.ts'
import { StateRecord } from '../state-record.ts'
import type { Log } from '../log.ts'

/** What clients may set: they show it, and some go by it themselves; this server has its own configuration for the rest. */
export interface ClientSettings {
  readonly btMaxConnections: number
  /** Milliseconds. */
  readonly btHandshakeTimeout: number
  readonly btRequestTimeout: number
  /** Bytes per second. */
  readonly btDownloadSpeedSoftLimit: number
  readonly btDownloadSpeedHardLimit: number
  readonly btMinPeersForStable: number
  readonly remoteHttps: string
  /** Clients send streams that need request headers through `/proxy`. */
  readonly proxyStreamsEnabled: boolean
  readonly transcodeProfile: string | null
}

export interface SettingsOptions {
  /** The download directory. */
  readonly directory: string
  /** What the operator allows the cache, in bytes; clients cannot change it. */
  readonly cacheBytes: number
  readonly isReadOnly: boolean
  readonly log: Log
}

/** Clients that speak to the official server look for this in its version, to know which routes there are. */
const SERVER_VERSION = '4.20.16'
const VERSION = 1

const defaults: ClientSettings = {
  btMaxConnections: 55,
  btHandshakeTimeout: 20_000,
  btRequestTimeout: 4_000,
  btDownloadSpeedSoftLimit: 2_621_440,
  btDownloadSpeedHardLimit: 3_670_016,
  btMinPeersForStable: 5,
  remoteHttps: '',
  proxyStreamsEnabled: false,
  transcodeProfile: null
}

/** What there is to transcode with: clients ask for it, and none of it is to be had. */
const fixed = {
  serverVersion: SERVER_VERSION,
  // Where they are is nobody's business.
  appPath: '.',
  cacheRoot: '.',
  localAddonEnabled: false,
  transcodeHorsepower: 0.75,
  transcodeMaxBitRate: 0,
  transcodeConcurrency: 1,
  transcodeTrackConcurrency: 1,
  transcodeHardwareAccel: false,
  allTranscodeProfiles: [],
  transcodeMaxWidth: 1920
} as const

/** The settings that Stremio clients see of their streaming server, kept over restarts. */
export class ServerSettings {
  readonly #options: SettingsOptions
  readonly #record: StateRecord
  #values: ClientSettings
  #writing: Promise<void> = Promise.resolve()

  private constructor (options: SettingsOptions, record: StateRecord, values: ClientSettings) {
    this.#options = options
    this.#record = record
    this.#values = values
  }

  static async open (options: SettingsOptions): Promise<ServerSettings> {
    const record = new StateRecord({
      path: join(options.directory, stateFolder, 'stremio-settings.json'),
      version: VERSION,
      title: 'the settings of Stremio clients',
      without: 'they have their defaults',
      isReadOnly: options.isReadOnly,
      log: options.log
    })
    const found = await record.read()
    return new ServerSettings(options, record, found.reduce<ClientSettings>((values, fields) => merged(values, fields), defaults))
  }

  /** All values that stremio-core's parser needs (its types/streaming_server/settings.rs), and what clients set of them. */
  get values () {
    return { ...fixed, cacheSize: this.#options.cacheBytes, ...this.#values }
  }

  /** Takes over what is among `ClientSettings` and of the right kind, leaves out the rest. Rejects with what the file system says. */
  async set (given: Readonly<Record<string, unknown>>): Promise<void> {
    this.#values = merged(this.#values, given)
    if (this.#options.isReadOnly) return
    // One after the other: the last one says what stays.
    this.#writing = this.#writing.catch(() => {}).then(async () => { await this.#record.write({ ...this.#values }) })
    await this.#writing
  }
}

function merged (before: ClientSettings, given: Readonly<Record<string, unknown>>): ClientSettings {
  const count = (name: 'btMaxConnections' | 'btHandshakeTimeout' | 'btRequestTimeout' | 'btMinPeersForStable' | 'btDownloadSpeedSoftLimit' | 'btDownloadSpeedHardLimit'): number => {
    const value = given[name]
    return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? Math.min(Math.round(value), Number.MAX_SAFE_INTEGER) : before[name]
  }
  const { remoteHttps, proxyStreamsEnabled, transcodeProfile } = given
  return {
    btMaxConnections: count('btMaxConnections'),
    btHandshakeTimeout: count('btHandshakeTimeout'),
    btRequestTimeout: count('btRequestTimeout'),
    btDownloadSpeedSoftLimit: count('btDownloadSpeedSoftLimit'),
    btDownloadSpeedHardLimit: count('btDownloadSpeedHardLimit'),
    btMinPeersForStable: count('btMinPeersForStable'),
    remoteHttps: typeof remoteHttps === 'string' ? remoteHttps.slice(0, 200) : before.remoteHttps,
    proxyStreamsEnabled: typeof proxyStreamsEnabled === 'boolean' ? proxyStreamsEnabled : before.proxyStreamsEnabled,
    transcodeProfile: transcodeProfile === null || typeof transcodeProfile === 'string' ? transcodeProfile?.slice(0, 200) ?? null : before.transcodeProfile
  }
}
