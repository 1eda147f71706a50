// Does with the newest npm nacos (HTTP, with pushes over UDP) what it is told by lines: see lines.py.
'use strict';

const fs = require('fs');
const readline = require('readline');
const { NacosNamingClient } = require('nacos');

const seconds = () => Number(process.hrtime.bigint()) / 1e9;
const say = (said) => process.stdout.write(`${JSON.stringify(said)}\n`);
const host = (shown) => ({
  address: `${shown.ip}:${shown.port}`,
  cluster: shown.clusterName,
  weight: shown.weight,
  healthy: shown.healthy,
  enabled: shown.enabled,
  ephemeral: shown.ephemeral,
  metadata: shown.metadata,
});
const instance = ({ ip, port, cluster, weight, healthy, enabled, ephemeral, metadata }) =>
  ({ ip, port, clusterName: cluster, weight, healthy, enabled, ephemeral, metadata });

class NpmClient {
  constructor(name, sdk) {
    this.name = name;
    this.sdk = sdk;
    this.listeners = new Map();
  }

  register(said) {
    return this.sdk.registerInstance(said.service, instance(said), said.group);
  }

  deregister(said) {
    return this.sdk.deregisterInstance(said.service, instance(said), said.group);
  }

  async list({ service, group, clusters = [], healthy, subscribe = false }) {
    const chosen = clusters.join(',');
    const found = healthy === undefined
      ? await this.sdk.getAllInstances(service, group, chosen, subscribe)
      : await this.sdk.selectInstances(service, group, chosen, healthy, subscribe);
    return found.map(host);
  }

  async subscribe({ service, group, clusters }) {
    const listener = (hosts) => say({ client: this.name, told: service, hosts: hosts.map(host), at: seconds() });
    this.listeners.set(service, listener);
    this.sdk.subscribe({ serviceName: service, groupName: group, clusters: (clusters || []).join(',') }, listener);
  }

  async unsubscribe({ service, group, clusters }) {
    const info = { serviceName: service, groupName: group, clusters: (clusters || []).join(',') };
    this.sdk.unSubscribe(info, this.listeners.get(service));
  }

  status() {
    return this.sdk.getServerStatus();
  }

  async servers() {
    return this.sdk._serverProxy.serversFromEndpoint;
  }

  async close() {
    await this.sdk.close();
  }
}

const written = (folder) => {
  const log = fs.createWriteStream(`${folder}/npm.log`, { flags: 'a' });
  const line = (...words) => log.write(`${words.map(String).join(' ')}\n`);
  return { debug: line, info: line, warn: line, error: line };
};

async function opened({ folder, servers, endpoint, namespace }) {
  const options = { logger: written(folder), serverList: servers, endpoint };
  if (namespace) options.namespace = namespace;
  const sdk = new NacosNamingClient(options);
  await sdk.ready();
  return sdk;
}

const clients = new Map();

async function answer(line) {
  const { number, client, call, with: parameters } = JSON.parse(line);
  const began = seconds();
  try {
    let result = null;
    if (call === 'open') clients.set(client, new NpmClient(client, await opened(parameters)));
    else result = await clients.get(client)[call](parameters);
    say({ number, result: result === undefined ? null : result, began, ended: seconds() });
  } catch (error) {
    say({ number, error: `${error.name}: ${error.message}`, began, ended: seconds() });
  }
}

const questions = readline.createInterface({ input: process.stdin });
questions.on('line', answer);
questions.on('close', () => process.exit(0));
